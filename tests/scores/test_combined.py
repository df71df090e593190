"""Combinations by their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clipn.features.rows import FeatureBatch
from clipn.scores import ATD, Evidence
from clipn.scores.combined import ATDNegLabel, NegATD
from clipn.scores.neg_label import NegLabel
from clipn.scores.word_features import WordFeatures

RNG = np.random.default_rng(1)


def unit(*shape: int) -> np.ndarray:
    values = RNG.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


YES, NO, IMAGES = unit(3, 6), unit(3, 6), unit(50, 6)
WORDS = WordFeatures(tuple(f"w{i}" for i in range(400)), ("noun",) * 400, ("noun.act",) * 400, unit(400, 6))
KNOWN = FeatureBatch([str(i) for i in range(60)], unit(60, 6))
EVIDENCE = Evidence(YES, NO, logit_scale=10.0, words=WORDS, images=KNOWN)


def test_neg_atd_by_its_definition() -> None:
    negatives = NegLabel().fit(EVIDENCE)
    atd = ATD().fit(EVIDENCE)
    groups = negatives.groups.numpy()
    expected = []
    for x in IMAGES:
        known = np.exp(10 * YES @ x)
        affirmed = 1 - atd.no_probability(x[None])[0]
        shares = [(affirmed * known).sum() / (known.sum() + np.exp(10 * group @ x).sum()) for group in groups]
        expected.append(np.mean(shares))
    np.testing.assert_allclose(NegATD().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-4)


def test_without_a_no_neg_atd_is_half_of_neg_label() -> None:
    same = replace(EVIDENCE, no=YES)  # then p_no is ½ everywhere
    np.testing.assert_allclose(NegATD().fit(same).score(IMAGES), NegLabel().fit(same).score(IMAGES) / 2, rtol=1e-5)


def test_neg_atd_refuses_more_than_atd() -> None:
    kept, kept_by_atd = NegATD().fit(EVIDENCE).keeps(IMAGES), ATD().fit(EVIDENCE).keeps(IMAGES)
    assert not (kept & ~kept_by_atd).any()


def test_the_sum_adds_standardised_scores() -> None:
    expected = np.zeros(len(IMAGES))
    for part in (ATD().fit(EVIDENCE), NegLabel().fit(EVIDENCE)):
        known = part.score(KNOWN.image).astype(np.float64)
        expected += (part.score(IMAGES) - known.mean()) / known.std()
    np.testing.assert_allclose(ATDNegLabel().fit(EVIDENCE).score(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_a_part_that_is_the_same_for_all_id_images_stays_finite() -> None:
    one = replace(EVIDENCE, images=KNOWN.rows([0, 0, 0]))
    assert np.isfinite(ATDNegLabel().fit(one).score(KNOWN.image[:1])).all()
