"""NegLabel and CSP against cases made by hand and against loops over the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax

from clipn.errors import InvalidParams
from clipn.scores import neg_label
from clipn.scores.base import Evidence
from clipn.scores.csp import CSP
from clipn.scores.neg_label import NegLabel, negatives
from tests.scores.word_lists import YES, joined, random_words, words
from tests.training_data import unit


def test_the_farthest_of_each_kind_are_kept() -> None:
    nouns = words(("beside", 30), ("between", 45), ("opposite", 225), ("behind", 200))
    adjectives = words(("near", 0), ("far", 135), kind="adjective")
    found = negatives(YES, joined(nouns, adjectives), share=0.5, quantile=1.0)
    # The largest cosines: cos 30°, cos 45°, cos 225°, cos 200° < cos 110°; then cos 0° and cos 45°.
    assert found.entries == ("opposite", "behind", "far")
    assert found.kinds == ("noun", "noun", "adjective")


def test_a_quantile_looks_past_a_class_that_is_near() -> None:
    yes = np.stack([YES[0]] * 20 + [YES[1]])
    pool = words(("one class", 90), ("many classes", 20))
    assert negatives(yes, pool, share=0.5, quantile=0.95).entries == ("one class",)
    assert negatives(yes, pool, share=0.5, quantile=1.0).entries == ("many classes",)
    assert negatives(yes, pool, share=0.5, quantile=0.95, too_near=0.99).entries == ("many classes",)


@pytest.mark.parametrize("classes", [1, 2, 7, 21, 100])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.95, 1.0])
def test_the_quantile_is_numpy_s(classes: int, quantile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    yes, pool = unit(rng, classes, 5), random_words(rng, 40, 0, 5)
    monkeypatch.setattr(neg_label, "COSINES", 3 * classes)  # several blocks
    nearness, largest = neg_label._nearness(yes, pool, quantile, "cpu")
    np.testing.assert_allclose(nearness, np.quantile(pool.features @ yes.T, quantile, axis=1), atol=1e-6)
    np.testing.assert_allclose(largest, (pool.features @ yes.T).max(axis=1), atol=1e-6)


def test_words_that_are_too_near_come_last() -> None:
    pool = words(("a", 1), ("b", 92), ("c", 30), ("d", 200))
    assert negatives(YES, pool, share=0.5, quantile=0.0, too_near=None).entries == ("d", "b")
    assert negatives(YES, pool, share=0.5, quantile=0.0, too_near=0.9).entries == ("d", "c")
    assert negatives(YES, pool, share=0.75, quantile=0.0, too_near=0.9).entries == ("d", "c", "b")


def test_few_words_leave_one_of_each_kind() -> None:
    pool = joined(words(("a", 10), ("b", 180)), words(("c", 45), kind="adjective"))
    assert negatives(YES, pool).entries == ("b", "c")
    assert len(negatives(YES, pool.of_kinds("verb"))) == 0


def test_by_hand() -> None:
    pool = joined(words(("west", 180), ("half", 45)), words(("south", 270), kind="adjective"))
    score = NegLabel().fit(Evidence(YES, logit_scale=2.0, words=pool))
    assert score.words.entries == ("west", "south")  # of two nouns one is kept, and each word is a group
    images = np.array([[1, 0], [-1, 0]], np.float32)
    e = math.exp
    near_one = (e(2) + 1) / (e(2) + 1 + e(-2)), (e(2) + 1) / (e(2) + 1 + 1)
    opposite = (e(-2) + 1) / (e(-2) + 1 + e(2)), (e(-2) + 1) / (e(-2) + 1 + 1)
    np.testing.assert_allclose(score.score(images), [np.mean(near_one), np.mean(opposite)], rtol=1e-6)
    assert NegLabel(logit_scale=3.0).fit(Evidence(YES, words=pool)).logit_scale == 3.0


@pytest.mark.parametrize("groups", [1, 4, 10])
def test_loops_over_the_formulas_give_the_same(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    dim, classes, scale = 8, 30, 20.0
    yes, images, pool = unit(rng, classes, dim), unit(rng, 50, dim), random_words(rng, 200, 107, dim)
    monkeypatch.setattr(neg_label, "COSINES", 1000)  # several blocks of words and of images
    score = NegLabel(groups=groups, seed=5).fit(Evidence(yes, logit_scale=scale, words=pool))

    kept = []
    for kind, share in (("noun", 30), ("adjective", 16)):
        rows = [i for i in range(len(pool)) if pool.kinds[i] == kind]
        nearness = {i: np.quantile([float(pool.features[i] @ y) for y in yes], 0.95) for i in rows}
        kept += sorted(rows, key=nearness.__getitem__)[:share]
    assert score.words.entries == tuple(f"w{i}" for i in kept)
    size = 46 // groups
    order = np.random.default_rng(5).permutation(groups * size)
    expected = []
    for image in images:
        shares = []
        for group in order.reshape(groups, size):
            labels = np.concatenate([yes, pool.features[[kept[i] for i in group]]])
            shares.append(softmax(scale * labels @ image)[:classes].sum())
        expected.append(np.mean(shares))
    np.testing.assert_allclose(score.score(images), expected, rtol=1e-5)


def test_a_seed_is_a_dealing() -> None:
    rng = np.random.default_rng(2)
    images = unit(rng, 20, 8)
    evidence = Evidence(unit(rng, 5, 8), logit_scale=20.0, words=random_words(rng, 300, 300, 8))
    first, again, other = (NegLabel(groups=9, seed=seed).fit(evidence).score(images) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_with_fewer_words_than_groups_each_is_a_group() -> None:
    rng = np.random.default_rng(3)
    score = NegLabel().fit(Evidence(unit(rng, 5, 8), words=random_words(rng, 100, 40, 8)))
    assert score.groups.shape == (21, 1, 8)


def test_large_scales_do_not_overflow() -> None:
    pool = words(("west", 180))
    images = np.array([[1, 0], [-1, 0], [0, 1]], np.float32)
    found = NegLabel().fit(Evidence(YES, logit_scale=1e4, words=pool)).score(images)
    np.testing.assert_allclose(found, [1, 0, 1], atol=1e-6)
    found = NegLabel().fit(Evidence(YES[:1], logit_scale=30.0, words=pool)).score(images)
    np.testing.assert_allclose(found, expit([60, -60, 0]), rtol=1e-4)


def test_animals_and_food_are_left_out_as_in_the_released_lists() -> None:
    pool = joined(
        *(words((name, 180), topic=f"noun.{name}") for name in ("animal", "food", "person", "act")),
        words(("adjective", 200), kind="adjective", topic="adj.pert"),
        words(("phrase", 200), kind="phrase", topic="adj.all"),
        words(("pert phrase", 200), kind="phrase", topic="adj.pert"),
    )
    evidence = Evidence(YES, words=pool)
    assert set(NegLabel().fit(evidence).words.kinds) == {"noun", "adjective"}
    assert NegLabel().fit(evidence).words.entries[0] in ("person", "act")
    assert CSP().fit(evidence).words.entries == ("act", "phrase")


def test_a_list_without_fitting_words_is_refused() -> None:
    with pytest.raises(InvalidParams, match=r"NegLabel: none of the 1 entries .* noun or adjective entries of other t"):
        NegLabel().fit(Evidence(YES, words=words(("dog", 180), topic="noun.animal")))
    with pytest.raises(InvalidParams, match=r"CSP: none of the 1 entries .* noun or phrase .*words\.path"):
        CSP().fit(Evidence(YES, words=words(("red", 180), kind="adjective")))
