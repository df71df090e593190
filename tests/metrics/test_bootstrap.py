"""Resampling by counts equals `clipn.metrics` on the images that were drawn."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipn import metrics
from clipn.errors import InvalidData, NonFinite
from clipn.metrics import bootstrap, delong
from clipn.metrics.bootstrap import Interval, draws, intervals, resampled

SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=30)


def explicit(
    inliers: NDArray, ood: dict[str, NDArray], replicates: int, seed: int, convention: str
) -> dict[str, NDArray[np.float64]]:
    """`resampled` by drawing the scores and measuring each draw."""
    (ids,) = draws(len(inliers), replicates, seed, None)
    found = {}
    for name, outliers in ood.items():
        (oods,) = draws(len(outliers), replicates, seed, name)
        pairs = [(inliers[i], outliers[o]) for i, o in zip(ids, oods, strict=True)]
        found[name] = np.array(
            [
                [metrics.auroc(*pair) for pair in pairs],
                [metrics.fpr_at_tpr(*pair, convention=convention) for pair in pairs],
            ]
        )
    return found


def assert_same(
    inliers: NDArray, ood: dict[str, NDArray], replicates: int, convention: str, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    found = resampled(inliers, ood, replicates=replicates, seed=seed, fpr_convention=convention)
    expected = explicit(inliers, ood, replicates, seed, convention)
    assert list(found) == list(expected)
    for name in ood:
        if convention == "id-interpolated":
            # The straight line is rounded twice, or once where the processor multiplies and adds at a time.
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-14, atol=1e-16)
        else:
            np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found[name][0], expected[name][0])
    return found


@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
@pytest.mark.parametrize("step", [0.5, 0.01], ids=["ties", "few ties"])
def test_every_replicate_equals_the_metrics_of_what_was_drawn(convention: str, step: float) -> None:
    random = np.random.default_rng(5)
    inliers = np.round(random.normal(1, 1, 60) / step)
    ood = {"near": np.round(random.normal(0, 1, 45) / step), "far": np.round(random.normal(-1, 2, 80) / step)}
    found = assert_same(inliers, ood, 60, convention)
    assert len(np.unique(found["near"][1])) > 5


@given(SCORES, SCORES, st.sampled_from(metrics.CONVENTIONS), st.integers(0, 99))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_tiny_sets_and_huge_ties(inliers: list[int], outliers: list[int], convention: str, seed: int) -> None:
    assert_same(np.array(inliers), {"ood": np.array(outliers)}, 4, convention, seed)


@pytest.mark.parametrize("images", [19, 20, 40, 100])
@pytest.mark.parametrize("convention", metrics.CONVENTIONS)
def test_recall_of_exactly_95_percent(images: int, convention: str) -> None:
    # Few distinct values and numbers of images of which 95 % is whole: many draws hit the rate exactly.
    inliers = np.repeat([0, 1, 2, 3], [images // 20, images // 20, 1, images - 2 * (images // 20) - 1])
    assert_same(inliers, {"ood": np.repeat([-1, 0, 1.5, 3], images // 4 or 1)}, 80, convention)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    inliers, ood = random.normal(size=50), {"a": random.normal(size=20), "b": random.normal(size=70)}
    whole = resampled(inliers, ood, replicates=23, seed=1, fpr_convention="id-nearest")
    monkeypatch.setattr(bootstrap, "CELLS", 300)  # four replicates of seventy images
    parts = resampled(inliers, ood, replicates=23, seed=1, fpr_convention="id-nearest")
    for name in ood:
        np.testing.assert_array_equal(parts[name], whole[name])


def test_ends_are_quantiles_and_the_average_is_taken_within_a_replicate() -> None:
    random = np.random.default_rng(7)
    inliers, ood = random.normal(1, 1, 40), {"a": random.normal(size=30), "b": random.normal(size=50)}
    values = resampled(inliers, ood, replicates=200, seed=3, fpr_convention="ood-first")
    found = intervals(inliers, ood, replicates=200, seed=3, fpr_convention="ood-first", confidence=0.9)
    assert list(found) == ["a", "b", "average"]
    for name, both in (*values.items(), ("average", (values["a"] + values["b"]) / 2)):
        expected = np.quantile(both, [0.05, 0.95], axis=1)
        assert list(found[name].as_json().values()) == pytest.approx(expected.T.ravel().tolist())


def test_the_seed_decides_and_other_sets_do_not() -> None:
    random = np.random.default_rng(8)
    inliers, ood = random.normal(size=40), {"a": random.normal(size=30), "b": random.normal(size=30)}

    def found(seed: int, *names: str) -> dict[str, Interval]:
        chosen = {name: ood[name] for name in names}
        return intervals(inliers, chosen, replicates=50, seed=seed, fpr_convention="id-nearest")

    assert found(1, "a", "b") == found(1, "a", "b")
    assert found(1, "a", "b")["a"] != found(2, "a", "b")["a"]
    assert found(1, "b", "a")["a"] == found(1, "a")["a"] == found(1, "a")["average"]


def test_sets_are_drawn_independently_of_each_other() -> None:
    ids, a, b = (next(draws(1000, 1, 0, name)).ravel() for name in (None, "a", "b"))
    for one, other in ((ids, a), (ids, b), (a, b)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_the_order_of_scores_decides_nothing_but_the_draw() -> None:
    # Every method draws the same images: scores that rank alike have the same intervals.
    random = np.random.default_rng(9)
    inliers, outliers = random.normal(1, 1, 60), random.normal(size=50)
    options = {"replicates": 40, "seed": 0, "fpr_convention": "id-nearest"}
    assert intervals(inliers, {"a": outliers}, **options) == intervals(
        np.exp(inliers), {"a": np.exp(outliers)}, **options
    )


def test_agrees_with_delong_on_gaussians() -> None:
    random = np.random.default_rng(10)
    inliers, outliers = random.normal(1, 1, 800), random.normal(size=600)
    found = intervals(inliers, {"a": outliers}, replicates=1000, seed=0, fpr_convention="id-interpolated")["a"]
    auroc, low, high = delong.interval([delong.Run(inliers, {"a": outliers})])
    assert auroc == pytest.approx(0.7602, abs=0.03)  # Φ(1 / √2)
    # The ends are quantiles of 1000 values: they scatter by a twentieth of the interval's width.
    assert found.auroc_low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.auroc_high == pytest.approx(high, abs=0.15 * (high - low))
    assert found.fpr95_low < metrics.fpr_at_tpr(inliers, outliers) < found.fpr95_high


def test_nothing_to_vary() -> None:
    found = intervals([1.0], {"a": [0.0]}, replicates=10, seed=0, fpr_convention="id-interpolated")
    assert asdict(found["average"]) == {"auroc_low": 1, "auroc_high": 1, "fpr95_low": 0, "fpr95_high": 0}


def test_what_is_refused() -> None:
    options = {"replicates": 10, "seed": 0, "fpr_convention": "id-nearest"}
    with pytest.raises(InvalidData, match="at least one is needed"):
        intervals([1.0], {}, **options)
    with pytest.raises(InvalidData, match="none may be 'average'"):
        intervals([1.0], {"average": [1.0]}, **options)
    with pytest.raises(NonFinite, match="1 of 1 textures scores"):
        intervals([1.0], {"textures": [np.inf]}, **options)
    with pytest.raises(ValueError, match="unknown FPR convention"):
        intervals([1.0], {"a": [1.0]}, **{**options, "fpr_convention": "usual"})
    with pytest.raises(ValueError, match="0 replicates"):
        intervals([1.0], {"a": [1.0]}, **{**options, "replicates": 0})
