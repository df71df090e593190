"""DeLong's test against sums over all pairs, a hand formula and simulations."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, inf, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from clipn import metrics
from clipn.errors import InvalidData, NonFinite
from clipn.metrics.delong import Run, compare, interval


def run(random: np.random.Generator, shift: float, images: int = 30, step: float = 0.5, **ood: int) -> Run:
    """Gaussian scores on a grid, so that many are tied."""
    sets = ood or {"a": 20}
    return Run(
        np.round(random.normal(shift, 1, images) / step),
        {name: np.round(random.normal(0, 1, count) / step) for name, count in sets.items()},
    )


def kernel(scores: Run, name: str) -> NDArray[np.float64]:
    """ψ of all pairs [N, M]: 1 where the ID image scores higher, ½ where it scores the same."""
    inliers, outliers = np.asarray(scores.id)[:, None], np.asarray(scores.ood[name])
    return (inliers > outliers) + 0.5 * (inliers == outliers)


def brute_force(pairs: Sequence[tuple[Run, Run]]) -> tuple[float, float, float]:
    """Difference, its standard error and the degrees of freedom of that, from all pairs of images."""
    sets = list(pairs[0][0].ood)
    psi = [{name: kernel(a, name) - kernel(b, name) for name in sets} for a, b in pairs]
    of_run = [np.mean([p[name].mean() for name in sets]) for p in psi]
    mean = {name: np.mean([p[name] for p in psi], axis=0) for name in sets}
    of_id = np.mean([mean[name].mean(axis=1) for name in sets], axis=0)
    variance = of_id.var(ddof=1) / len(of_id)
    for name in sets:
        variance += mean[name].mean(axis=0).var(ddof=1) / mean[name].shape[1] / len(sets) ** 2
    freedom = inf
    if len(pairs) > 1:
        of_runs = np.var(of_run, ddof=1) / len(pairs)
        variance += of_runs
        freedom = variance**2 / (of_runs**2 / (len(pairs) - 1))
    return float(np.mean(of_run)), sqrt(variance), freedom


def test_auroc_is_that_of_the_metrics() -> None:
    random = np.random.default_rng(0)
    runs = [run(random, shift, a=20, b=35) for shift in (0.5, 1, 2)]
    expected = np.mean([metrics.auroc(r.id, r.ood[name]) for r in runs for name in ("a", "b")])
    assert interval(runs)[0] == pytest.approx(expected)
    assert interval([runs[0]])[0] == pytest.approx(
        np.mean([metrics.auroc(runs[0].id, o) for o in runs[0].ood.values()])
    )


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 3), (3, 1), (1, 4)])
@pytest.mark.parametrize("sets", [{"a": 20}, {"a": 20, "b": 7, "c": 41}], ids=["one set", "three sets"])
def test_variance_is_that_of_all_pairs(first: int, second: int, sets: dict[str, int]) -> None:
    random = np.random.default_rng(1)
    ours, theirs = ([run(random, shift, **sets) for _ in range(n)] for shift, n in ((1.2, first), (0.9, second)))
    count = max(first, second)
    difference, error, freedom = brute_force(
        list(zip(ours * (count // first), theirs * (count // second), strict=True))
    )
    found = compare(ours, theirs)
    assert found.difference == pytest.approx(difference)
    assert found.high - found.difference == pytest.approx(t.ppf(0.975, freedom) * error)
    assert found.difference - found.low == pytest.approx(t.ppf(0.975, freedom) * error)
    assert found.p == pytest.approx(2 * t.sf(abs(difference) / error, freedom))
    assert freedom == inf if count == 1 else count - 1 < freedom < inf


def test_interval_is_that_of_all_pairs() -> None:
    random = np.random.default_rng(2)
    runs = [run(random, 1, a=20, b=9) for _ in range(3)]
    nothing = Run(np.zeros(30), {"a": np.ones(20), "b": np.ones(9)})  # its ψ is 0 everywhere
    auroc, error, freedom = brute_force([(r, nothing) for r in runs])
    margin = t.ppf(0.975, freedom) * error
    assert interval(runs) == pytest.approx((auroc, auroc - margin, auroc + margin))


def test_four_images_by_hand() -> None:
    # Both score OOD 1 and 3. The first has ID 2 and 4, so ψ = [[1, 0], [1, 1]] and AUROC ¾; its components are
    # ½, 1 of ID images and 1, ½ of OOD images. The second has ID 0 and 4: components 0, 1 and ½, ½, AUROC ½.
    # Differences: ½, 0 and ½, 0, each of variance ⅛; the variance is ⅛ / 2 + ⅛ / 2 = ⅛.
    found = compare([Run([2, 4], {"a": [1, 3]})], [Run([0, 4], {"a": [1, 3]})])
    assert found.difference == 0.25
    assert found.p == pytest.approx(erfc(0.25 / sqrt(0.125) / sqrt(2)))  # of a normal distribution
    assert found.high == pytest.approx(0.25 + 1.959964 * sqrt(0.125))


def test_the_same_scores_do_not_differ() -> None:
    runs = [run(np.random.default_rng(seed), 1, a=20, b=7) for seed in range(3)]
    for found in (compare(runs, runs), compare(runs[:1], runs[:1] * 3), compare(runs[:1], [stretched(runs[0])])):
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def stretched(scores: Run) -> Run:
    """Other scores of the same order."""
    return Run(np.exp(scores.id), {name: np.exp(values) for name, values in scores.ood.items()})


def test_perfect_and_reversed_differ_without_doubt() -> None:
    perfect, reversed_ = Run([2, 3, 4], {"a": [0, 1]}), Run([0, 0, 1], {"a": [2, 3]})
    found = compare([perfect], [reversed_])
    assert (found.difference, found.low, found.high, found.p) == (1, 1, 1, 0)
    assert interval([perfect]) == (1, 1, 1)


def test_the_other_way_round() -> None:
    random = np.random.default_rng(3)
    ours, theirs = [run(random, 1.5) for _ in range(2)], [run(random, 0.5) for _ in range(2)]
    forward, backward = compare(ours, theirs), compare(theirs, ours)
    assert forward.difference > 0
    assert forward.difference == pytest.approx(-backward.difference)
    assert forward.low == pytest.approx(-backward.high)
    assert forward.p == pytest.approx(backward.p)


def test_where_only_seeds_matter_it_is_students_test_of_the_runs() -> None:
    # Scores of two values, and AUROC is ½, ¾ and 1 whichever images are drawn: the images' part is nothing.
    runs = [Run([3, 3], {"a": [low, low], "b": [3, 3]}) for low in (3, 1)] + [Run([3, 3], {"a": [1, 1], "b": [1, 1]})]
    auroc, low, high = interval(runs)
    error = 0.25 / sqrt(3)
    assert auroc == 0.75
    assert low == pytest.approx(max(0.75 - 4.302653 * error, 0))
    assert high == min(0.75 + 4.302653 * error, 1)
    found = compare(runs, [Run([3, 3], {"a": [3, 3], "b": [3, 3]})])
    assert found.p == pytest.approx(2 * t.sf(0.25 / error, 2))


def test_an_interval_stays_within_0_and_1() -> None:
    nearly = Run([1, 2, 3, 4], {"a": [0, 0, 1.5]})
    assert interval([nearly])[2] == 1
    assert interval([Run(-np.asarray(nearly.id), {"a": -np.asarray(nearly.ood["a"])})])[1] == 0


@pytest.mark.parametrize(("runs", "seeds", "noise"), [(1, 0.0, 0.7), (3, 0.5, 0.1)], ids=["one run", "seeds dominate"])
def test_five_percent_of_equal_methods_are_called_different(runs: int, seeds: float, noise: float) -> None:
    """Noisy views of one quantity, shifted by the seed: correlated, and neither method is better."""
    random = np.random.default_rng(5)

    def view(inliers: NDArray, outliers: NDArray) -> Run:
        shift = random.normal(0, seeds)
        blurred = (values + random.normal(0, noise, len(values)) for values in (inliers + shift, outliers))
        return Run(next(blurred), {"a": next(blurred)})

    rejected = 0
    for _ in range(300):
        inliers, outliers = random.normal(1, 1, 80), random.normal(0, 1, 60)
        ours, theirs = ([view(inliers, outliers) for _ in range(runs)] for _ in range(2))
        rejected += compare(ours, theirs).p < 0.05
    assert 6 <= rejected <= 26  # 15 are expected; a binomial stays within with probability 99 %


def test_a_better_method_is_found() -> None:
    random = np.random.default_rng(6)
    inliers, outliers = random.normal(1, 1, 300), random.normal(0, 1, 300)
    blurred = Run(inliers + random.normal(0, 1, 300), {"a": outliers + random.normal(0, 1, 300)})
    found = compare([Run(inliers, {"a": outliers})], [blurred])
    assert found.low > 0
    assert found.p < 0.001


def test_what_cannot_be_compared() -> None:
    random = np.random.default_rng(7)
    one = run(random, 1, a=20)
    for other in (
        run(random, 1, a=21),
        run(random, 1, b=20),
        run(random, 1, images=31, a=20),
        run(random, 1, a=20, b=3),
    ):
        with pytest.raises(InvalidData, match="scored other images"):
            compare([one], [other])
        with pytest.raises(InvalidData, match="scored other images"):
            interval([one, other])
    with pytest.raises(InvalidData, match="3 and 2 runs cannot be paired"):
        compare([one] * 3, [one] * 2)
    with pytest.raises(InvalidData, match="1 and 0 runs cannot be paired"):
        compare([one], [])
    with pytest.raises(InvalidData, match="no run"):
        compare([], [])
    with pytest.raises(InvalidData, match="no run"):
        interval([])
    with pytest.raises(InvalidData, match="no OOD set"):
        interval([Run([1.0, 2.0], {})])
    with pytest.raises(InvalidData, match="fewer than two scores in a: no variance"):
        interval([Run([1.0, 2.0], {"a": [1.0]})])
    with pytest.raises(NonFinite, match="1 of 2 a scores"):
        interval([Run([1.0, 2.0], {"a": [1.0, np.nan]})])
