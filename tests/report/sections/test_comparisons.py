from __future__ import annotations

import numpy as np
import pytest

from clipn.metrics import delong
from clipn.report.inputs.score_files import Scores
from clipn.report.render.document import Grid, Text
from clipn.report.sections import comparisons
from clipn.report.sections.comparisons import Compared, Comparisons
from tests.report.made_up import TRAINED, benchmark, method

IMAGES = 200


def scores(shift: float, seed: int = 0) -> Scores:
    """Of images that are the same for all methods; a larger shift tells them apart better."""
    shared, own = np.random.default_rng(9), np.random.default_rng(seed)
    id_scores = shared.normal(shift, 1, IMAGES) + 0.1 * own.normal(size=IMAGES)
    ood = {name: shared.normal(0, 1, IMAGES) + 0.1 * own.normal(size=IMAGES) for name in ("dogs", "cars")}
    return Scores(id_scores.astype(np.float32), {name: values.astype(np.float32) for name, values in ood.items()})


# Averages that rank as the shifts do; MSP and MCM differ by noise alone.
SMALL = benchmark(
    method("MSP", {"dogs": [0.9], "cars": [0.9]}),
    method("MCM", {"dogs": [0.89], "cars": [0.9]}),
    method("Energy", {"dogs": [0.6], "cars": [0.6]}),
    method("CLIPN-CTW", {"dogs": [0.7, 0.7], "cars": [0.7, 0.7]}, TRAINED),
    seeds=(0, 1),
)
SCORES = {
    "MSP": [scores(2.0)],
    "MCM": [scores(2.0, seed=1)],
    "Energy": [scores(0.2)],
    "CLIPN-CTW": [scores(0.8, seed=2), scores(0.8, seed=3)],
}


def test_holm_known_answer() -> None:
    # Sorted .01 .02 .03 .5 times 4 3 2 1 gives .04 .06 .06 .5: the third may not fall below the second.
    assert comparisons.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert comparisons.holm([0.9, 0.8]) == [1.0, 1.0]
    assert comparisons.holm([0.3]) == [0.3]
    assert comparisons.holm([]) == []


def test_the_best_method_is_compared_with_every_other() -> None:
    found = comparisons.compare(SMALL, SCORES)
    assert found.best == "MSP"
    assert list(found.others) == ["MCM", "Energy", "CLIPN-CTW"]
    assert [compared.differs for compared in found.others.values()] == [False, True, True]
    assert list(found.alike) == ["MCM"]
    run = {name: [delong.Run(s.id, s.ood) for s in of_method] for name, of_method in SCORES.items()}
    raw = [delong.compare(run["MSP"], run[name]) for name in found.others]
    assert found.others["Energy"].difference == raw[1].difference
    assert (found.others["MCM"].low, found.others["MCM"].high) == (raw[0].low, raw[0].high)
    assert [c.p for c in found.others.values()] == pytest.approx(comparisons.holm([result.p for result in raw]))
    assert found.intervals["CLIPN-CTW"] == delong.interval(run["CLIPN-CTW"])[1:]


def test_the_no_encoder_is_held_against_the_best_without() -> None:
    found = comparisons.compare(SMALL, SCORES)
    assert found.with_no_text_encoder is not None
    first, second, compared = found.with_no_text_encoder
    assert (first, second) == ("CLIPN-CTW", "MSP")
    assert compared == found.others["CLIPN-CTW"].reversed
    assert compared.low < compared.difference < compared.high < 0


def test_a_verdict_that_is_not_about_the_best_is_one_more_comparison() -> None:
    imported = method("CLIPN-CTW (x)", {"dogs": [0.95], "cars": [0.95]}, TRAINED, base="CLIPN-CTW", imported="x")
    found = comparisons.compare(
        benchmark(*SMALL.methods, imported, seeds=(0, 1)), {**SCORES, "CLIPN-CTW (x)": [scores(3)]}
    )
    assert found.best == "CLIPN-CTW (x)"
    assert found.with_no_text_encoder is not None
    assert found.with_no_text_encoder[:2] == ("CLIPN-CTW", "MSP")
    assert found.with_no_text_encoder[2].difference < 0
    note = comparisons.blocks(found)[1]
    assert isinstance(note, Text)
    assert "corrected after Holm for the 5 comparisons" in note.text


def test_a_single_method_is_compared_with_nothing() -> None:
    found = comparisons.compare(benchmark(SMALL.methods[0]), {"MSP": SCORES["MSP"]})
    assert (found.others, found.with_no_text_encoder) == ({}, None)
    assert comparisons.blocks(found) == []
    low, high = found.intervals["MSP"]
    assert low < high


def test_table_of_differences_from_the_nearest_on() -> None:
    found = Comparisons(
        "MSP",
        {"Energy": Compared(0.3, 0.2, 0.4, 1e-9), "MCM": Compared(0.005, -0.01, 0.02, 0.43)},
        None,
        {},
    )
    _, note, grid = comparisons.blocks(found)
    assert isinstance(grid, Grid)
    assert isinstance(note, Text)
    assert "corrected after Holm for the 2 comparisons" in note.text
    assert grid.folded == "MSP differs from 1 of 2 other methods"
    assert [(row.name, *row.cells) for row in grid.rows] == [
        ("MCM", "+0.50", "−1.00 to +2.00", "0.43", "cannot be told apart"),
        ("Energy", "+30.00", "+20.00 to +40.00", "< 0.0001", "MSP is better"),
    ]


def test_p_as_it_prints() -> None:
    assert [comparisons.show_p(p) for p in (1.0, 0.0432, 0.00012, 0.00001)] == [
        "p = 1",
        "p = 0.043",
        "p = 0.00012",
        "p < 0.0001",
    ]
