from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from clipn.report import summary, table
from clipn.report.inputs import Run
from clipn.report.overlaps import Found, Overlap, SetOverlap

Metrics = Callable[..., dict[str, Any]]

NOTHING = {
    "small": Overlap(Found("small", "cats", ("dogs", "cars"), 0.95, dict.fromkeys(("cats", "dogs"), SetOverlap(1))), {})
}


def summarise(*values: dict[str, Any]) -> summary.BenchmarkSummary:
    return summary.summarise([TypeAdapter(Run).validate_python(v) for v in values])


@pytest.fixture
def small(metrics: Metrics) -> summary.BenchmarkSummary:
    return summarise(metrics(0), metrics(1), metrics(2))


def test_rows_are_methods_times_repeats(small: summary.BenchmarkSummary) -> None:
    assert [(row.method, row.repeat) for row in table.rows(small)] == [
        ("MSP", ""),
        ("CLIPN-CTW", "seed 0"),
        ("CLIPN-CTW", "seed 1"),
        ("CLIPN-CTW", "seed 2"),
        ("CLIPN-CTW", "mean ± std"),
    ]


def test_cells_are_percent_and_the_best_mean_of_each_column_is_marked(small: summary.BenchmarkSummary) -> None:
    msp, first, _, _, mean = table.rows(small)
    assert [(cell.auroc.text, cell.fpr95.text) for cell in mean.cells] == [
        ("70.00 ± 10.00", "40.00 ± 10.00"),
        ("90.00 ± 0.00", "10.00 ± 0.00"),
        ("80.00 ± 5.00", "25.00 ± 5.00"),
    ]
    assert [cell.auroc.text for cell in first.cells] == ["60.00", "90.00", "75.00"]
    assert [(cell.auroc.best, cell.fpr95.best) for cell in msp.cells] == [(True, True), (False, False), (True, False)]
    assert [(cell.auroc.best, cell.fpr95.best) for cell in mean.cells] == [(False, False), (True, True), (False, True)]
    assert not any(cell.auroc.best or cell.fpr95.best for cell in first.cells)


def test_values_that_print_the_same_are_all_best(metrics: Metrics) -> None:
    values = metrics(0)
    values["methods"]["MSP"]["ood"]["dogs"]["auroc"] = 0.600004
    msp, ctw = table.rows(summarise(values))
    assert (msp.cells[0].auroc.text, msp.cells[0].auroc.best) == ("60.00", True)
    assert (ctw.cells[0].auroc.text, ctw.cells[0].auroc.best) == ("60.00", True)


def test_one_seed_gives_one_row_without_deviation(metrics: Metrics) -> None:
    rows = table.rows(summarise(metrics(1)))
    assert [(row.method, row.repeat) for row in rows] == [("MSP", ""), ("CLIPN-CTW", "seed 1")]
    assert rows[1].cells[0].auroc.text == "70.00"


def test_decisions_in_percent(small: summary.BenchmarkSummary) -> None:
    assert table.decisions(small) == [("CLIPN-CTW", "75.00 ± 25.00", "50.00 ± 0.00", "50.00 ± 0.00")]


def test_markdown_is_the_whole_table(small: summary.BenchmarkSummary) -> None:
    lines = table.markdown("Made up", [small], NOTHING, with_published=False).splitlines()
    assert lines[0] == "# Made up"
    assert "| method | repeat | dogs (6) | cars (2) | average |" in lines
    assert "| MSP |  | **92.00** / **20.00** | 70.00 / 40.00 | **81.00** / 30.00 |" in lines
    assert "| CLIPN-CTW | seed 1 | 70.00 / 40.00 | 90.00 / 10.00 | 80.00 / 25.00 |" in lines
    text = "\n".join(lines)
    assert "| CLIPN-CTW | mean ± std | 70.00 ± 10.00 / 40.00 ± 10.00 | **90.00 ± 0.00** / **10.00 ± 0.00** |" in text
    assert "ID is the positive class; the ROC curve is interpolated linearly" in text
    assert "ID accuracy is 75.00 %" in text
    assert "Logit scale 21.25, templates `symbols`" in text
    assert "iNaturalist" not in text


def test_markdown_escapes_foreign_text(small: summary.BenchmarkSummary) -> None:
    first = table.markdown("a | b\n<script>", [small], NOTHING, with_published=False).splitlines()[0]
    assert first == "# a \\| b &lt;script>"


def test_published_rows_are_complete_and_marked_as_other_data(small: summary.BenchmarkSummary) -> None:
    text = table.markdown("Made up", [small], NOTHING, with_published=True)
    assert "**Other data: not measured here" in text
    row = (
        "| CLIPN-A, paper |  | 95.27?/23.94 | 93.93?/26.17 | 90.93?/40.84 | 92.28?/33.45 | 93.10/31.10 "
        "| id-interpolated | CLIPN, arXiv 2308.12213 |"
    )
    assert row in text.splitlines()
    assert len(table.published()["rows"]) == 14


def test_published_averages_follow_from_their_rows() -> None:
    """Finds slips of the pen; rows with marked figures need not add up."""
    for row in table.published()["rows"]:
        if "average" not in row or "?" in "".join(str(value) for value in row.values()):
            continue
        pairs = [
            [float(number) for number in row[name].split("/")] for name in ("iNaturalist", "SUN", "Textures", "Places")
        ]
        average = [float(number) for number in row["average"].split("/")]
        assert [sum(column) / 4 for column in zip(*pairs, strict=True)] == pytest.approx(average, abs=0.011), row
