from __future__ import annotations

import pytest

from clipn.report.sections import headline
from clipn.report.sections.comparisons import Compared, Comparisons
from clipn.report.summary import BenchmarkSummary
from tests.report.made_up import NAMES, TRAINED, benchmark, method

MSP = method("MSP", {"dogs": [0.92], "cars": [0.7]}, fpr95=0.25)
MCM = method("MCM", {"dogs": [0.7], "cars": [0.7]})
CTW = method("CLIPN-CTW", {"dogs": [0.6, 0.8], "cars": [0.9, 0.9]}, TRAINED, fpr95=0.2)
SMALL = benchmark(MSP, MCM, CTW, seeds=(0, 1))
CERTAIN, UNSURE = Compared(0.01, 0.005, 0.015, 0.001), Compared(0.01, -0.02, 0.04, 0.43)


def comparisons(ctw: Compared, mcm: Compared = CERTAIN) -> Comparisons:
    """Of MSP, the best one, with the others."""
    return Comparisons("MSP", {"MCM": mcm, "CLIPN-CTW": ctw}, ("CLIPN-CTW", "MSP", ctw.reversed), {})


def test_what_was_measured_and_who_won_on_each_measure() -> None:
    measured, best, *_ = headline.sentences(SMALL, comparisons(CERTAIN))
    assert measured == "3 images of cats (ID) against 6 images of 2 OOD sets. Zero-shot ID accuracy is 75.00 %."
    assert best == "Best average AUROC: MSP with 81.00. Lowest average FPR95: CLIPN-CTW with 20.00 ± 0.00."
    one = benchmark(method("1-NN", {"dogs": [0.9]}), id_accuracy=None)
    measured, best = headline.sentences(one, Comparisons("1-NN", {}, None, {}))
    assert measured == "3 images of cats (ID) against 3 images of 1 OOD set."
    assert best == "Best average AUROC: 1-NN with 90.00. It also has the lowest average FPR95, 50.00."


def test_a_win_is_claimed_only_where_it_is_more_than_chance() -> None:
    _, _, apart, verdict = headline.sentences(SMALL, comparisons(CERTAIN))
    assert apart == "MSP beats each of the 2 other methods (p < 0.05)."
    assert verdict == (
        'The best method with the trained "No" text encoder is CLIPN-CTW (80.00 ± 7.07). '
        "It loses to the best one without it, MSP (81.00), by 1.00 points of average AUROC (p = 0.001)."
    )
    _, _, apart, verdict = headline.sentences(SMALL, comparisons(UNSURE))
    assert apart == "MSP cannot be told apart from CLIPN-CTW (p = 0.43); it beats the other one (p < 0.05)."
    assert verdict.endswith("It cannot be told apart from the best one without it, MSP (81.00; p = 0.43).")
    _, _, apart, _ = headline.sentences(SMALL, comparisons(UNSURE, Compared(0.11, -0.1, 0.3, 0.2)))
    assert apart == "MSP cannot be told apart from CLIPN-CTW (p = 0.43) and MCM (p = 0.2)."


def test_clipn_may_win_too() -> None:
    better = method("CLIPN-CTW", {"dogs": [0.9], "cars": [0.9]}, TRAINED)
    found = Comparisons("CLIPN-CTW", {"MSP": CERTAIN}, ("CLIPN-CTW", "MSP", CERTAIN), {})
    _, _, apart, verdict = headline.sentences(benchmark(MSP, better), found)
    assert apart == "CLIPN-CTW beats MSP (p = 0.001)."
    assert "It beats the best one without it, MSP (81.00), by 9.00 points of average AUROC (p = 0.001)" in verdict
    assert verdict.endswith("; with one seed, how far training varies is unknown.")


def test_without_the_no_encoder_nothing_is_said_of_it() -> None:
    found = Comparisons("MSP", {"MCM": CERTAIN}, None, {})
    assert len(headline.sentences(benchmark(MSP, MCM), found)) == 3


NEG = method("NegATD", {"dogs": [0.8], "cars": [0.8]}, TRAINED | {"words"})
NEAR = method("CLIPN-1-NN", {"dogs": [0.7], "cars": [0.7]}, TRAINED | {"images"})
SUM = method("ATD+Energy", {"dogs": [0.6], "cars": [0.6]}, TRAINED)
HERE = benchmark(MSP, NEG, NEAR, SUM)


def on_validation(*aurocs: float) -> BenchmarkSummary:
    neg, near, other = aurocs
    return benchmark(
        method("MSP", {"birds": [0.99]}),
        method("NegATD", {"birds": [neg]}, TRAINED | {"words"}),
        method("CLIPN-1-NN", {"birds": [near]}, TRAINED | {"images"}),
        method("ATD+Energy", {"birds": [other]}, TRAINED),
        name="choice",
    )


@pytest.mark.parametrize(
    ("aurocs", "chosen", "reached", "rank"),
    [
        ((0.9, 0.8, 0.7), "NegATD", "80.00", "rank 2 of 4; it loses to MSP (p = 0.001)"),
        ((0.8, 0.9, 0.7), "CLIPN-1-NN", "70.00", "rank 3 of 4; it cannot be told apart from MSP (p = 0.43)"),
        ((0.8, 0.7, 0.9), "ATD+Energy", "60.00", "rank 4 of 4; it loses to MSP (p = 0.001)"),
    ],
)
def test_combinations_are_chosen_on_other_images(
    aurocs: tuple[float, float, float], chosen: str, reached: str, rank: str
) -> None:
    found = Comparisons("MSP", {"NegATD": CERTAIN, "CLIPN-1-NN": UNSURE, "ATD+Energy": CERTAIN}, None, {})
    said = headline.validated(HERE, found, on_validation(*aurocs), {"ATD+Energy"})
    assert said == (
        f"Of 3 combinations, {chosen} has the highest average AUROC on the validation benchmark choice (90.00). "
        f"Here it reaches {reached}, {rank}."
    )


def test_the_chosen_one_may_be_the_best_here() -> None:
    found = Comparisons("NegATD", {}, None, {})
    said = headline.validated(benchmark(NEG), found, on_validation(0.6, 0.9, 0.9), ())
    assert said.startswith("Of 1 combination, NegATD has")
    assert said.endswith("Here it reaches 80.00, rank 1 of 1.")


def test_no_combination_at_all_is_said() -> None:
    assert MSP.needs >= NAMES
    said = headline.validated(benchmark(MSP), Comparisons("MSP", {}, None, {}), on_validation(0.9, 0.9, 0.9), ())
    assert said == "No combination of scores was measured both here and on the validation benchmark choice."
