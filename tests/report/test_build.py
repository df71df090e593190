"""`clipn.report.build` on a made-up project."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from clipn import report
from clipn.errors import InvalidData, MissingInput, NonFinite
from clipn.utils.files import read_json, write_json, write_text
from tests.report import made_up

Built = tuple[Path, dict[str, Any]]


def build(
    project: Path, names: tuple[str, ...] = ("small", "tiny"), seeds: tuple[int, ...] = (0, 1, 2), **further: Any
) -> dict[str, Any]:
    return report.build(made_up.params(names, seeds, **further), project)


def test_everything_that_is_promised_is_written(built: Built) -> None:
    project, result = built
    assert sorted(result["outputs"]) == [
        "reports/headline.json",
        "reports/metrics.json",
        "reports/overview.png",
        "reports/plots/auroc.csv",
        "reports/plots/average.csv",
        "reports/plots/histograms/small.csv",
        "reports/plots/histograms/tiny.csv",
        "reports/plots/robustness.csv",
        "reports/plots/roc/small.csv",
        "reports/plots/roc/tiny.csv",
        "reports/plots/study.csv",
        "reports/report.html",
        "reports/results.md",
    ]
    assert all((project / name).is_file() for name in result["outputs"])
    assert read_json(project / "reports/metrics.json") == result["metrics"]
    assert result["metrics"]["small"]["CLIPN-CTW"]["auroc"]["average"] == 0.8
    assert result["metrics"]["tiny"]["MSP"]["auroc"] == {"cars": 0.7, "average": 0.7}
    assert result["metrics"]["small"]["calibration_error"] == 0.125
    assert result["metrics"]["study"]["red"]["small"]["1-NN"] == {"auroc": 0.7}
    assert result["metrics"]["attack"]["small"]["smooth"]["MCM"] == {"after": 0.4}
    assert result["metrics"]["robustness"]["small"]["clean"]["MCM"] == 0.9
    assert read_json(project / "reports/headline.json") == {
        "fpr_convention": "id-interpolated",
        "id_accuracy": 0.75,
        "CLIPN-CTW": {"auroc": 0.8, "fpr95": 0.25},
        "MSP": {"auroc": 0.81, "fpr95": 0.3},
    }
    assert result["headline"]["small"][1].startswith("Best average AUROC: MSP with 81.00.")


def test_equal_input_gives_equal_bytes(project: Path, add_further: Callable[[Path], None], built: Built) -> None:
    other, result = built
    add_further(project)
    build(project, studies=made_up.BACKBONES, study_benchmarks=("small",), attacks=("small",), robust=("small",))
    for name in result["outputs"]:
        assert (project / name).read_bytes() == (other / name).read_bytes(), name


def test_without_further_studies_there_is_nothing_of_them(project: Path) -> None:
    for path in (project / "reports/stages").iterdir():
        path.unlink()
    result = build(project, ("tiny",), (1,), published=False)
    assert result["metrics"].keys() == {"tiny"}
    assert not {"reports/plots/study.csv", "reports/plots/robustness.csv"} & set(result["outputs"])
    text = (project / "reports/results.md").read_text(encoding="utf-8")
    assert "| CLIPN-CTW | seed 1 | **90.00** / **10.00** | **90.00** / **10.00** |" in text
    assert "| mean ± std |" not in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Results: tiny"]
    html = (project / "reports/report.html").read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", unescape(html)) == [
        "Results: tiny",
        "Images",
        'Training of the "No" text encoder',
    ]


def test_markdown_has_every_section(built: Built) -> None:
    text = (built[0] / "reports/results.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Results: small",
        "## Results: tiny",
        "## Feature study",
        "## Images moved towards ID",
        "## Robustness",
        "## Published results on ImageNet-1K",
    ]


def test_imported_models_have_rows_of_their_own(project: Path, add_imported: Callable[[Path], None]) -> None:
    add_imported(project)
    result = build(project, ("tiny",), (0,), imported=("released",))
    measured = result["metrics"]["tiny"]
    assert measured.keys() == {"id_accuracy", "calibration_error", "MSP", "CLIPN-CTW", "CLIPN-CTW (released)"}
    assert measured["CLIPN-CTW (released)"]["auroc"] == {"cars": 0.9, "average": 0.9}
    text = (project / "reports/results.md").read_text(encoding="utf-8")
    assert "| CLIPN-CTW (released) | imported | **90.00** / **10.00** |" in text
    assert "The model released was imported; it is measured with logit scale 100 and templates photo." in text
    assert "CLIPN-CTW (released)" in (project / "reports/report.html").read_text(encoding="utf-8")
    assert (project / "reports/plots/roc/tiny.csv").read_text().startswith("fpr,CLIPN-CTW,MSP,CLIPN-CTW (released)\n")


def test_plot_data(built: Built) -> None:
    project, _ = built

    def rows(name: str) -> list[dict[str, str]]:
        with (project / "reports/plots" / name).open(newline="") as handle:
            return list(csv.DictReader(handle))

    roc = rows("roc/small.csv")
    assert len(roc) == 200
    assert roc[0].keys() == {"fpr", "MSP", "CLIPN-CTW"}
    assert (roc[0]["fpr"], roc[-1]["MSP"]) == ("0.0000", "1.0000")
    assert rows("average.csv")[0].keys() == {"method", "auroc"}
    auroc = {(r["benchmark"], r["method"], r["set"]): (r["auroc_mean"], r["auroc_std"]) for r in rows("auroc.csv")}
    assert auroc["small", "CLIPN-CTW", "dogs"] == ("0.700000", "0.100000")
    assert auroc["small", "MSP", "average"] == ("0.810000", "")
    assert len(rows("histograms/small.csv")) == 2 * 2 * 40


def _drop(path: Path) -> None:
    path.unlink()


def _without_methods(path: Path) -> None:
    write_json(path, {**json.loads(path.read_text()), "methods": {}})


def _nan(path: Path) -> None:
    write_text(path, path.read_text().replace("1.5", "nan"))


@pytest.mark.parametrize(
    ("name", "damage", "error", "message"),
    [
        ("reports/metrics/small/seed-1.json", _drop, InvalidData, r"seed-1\.json"),
        ("reports/metrics/small/baselines.json", _drop, InvalidData, r"small lacks baselines\.json"),
        ("reports/metrics/small/seed-1.json", _without_methods, InvalidData, r"seed-1\.json.*CLIPN-CTW"),
        ("data/scores/tiny/seed-2.parquet", _drop, InvalidData, r"tiny lacks seed-2\.parquet"),
        ("reports/training/seed-2/plots/metrics/loss_no.tsv", _drop, InvalidData, r"loss_no\.tsv"),
        ("reports/training/seed-2/plots/metrics/loss_tso.tsv", _nan, NonFinite, r"seed-2.*loss_tso\.tsv: loss_tso"),
        ("data/sets/dogs/manifest.parquet", _drop, MissingInput, r"dogs/manifest\.parquet"),
        ("data/sets/dogs/images.tar", _drop, MissingInput, r"dogs/images\.tar does not exist"),
    ],
)
def test_damage_is_named_and_nothing_is_written(
    project: Path, name: str, damage: Any, error: type[Exception], message: str
) -> None:
    damage(project / name)
    with pytest.raises(error, match=message):
        build(project)
    assert not (project / "reports/metrics.json").exists()
    assert not (project / "reports/report.html").exists()


def test_no_benchmark_is_called_like_a_part_of_the_metrics(project: Path) -> None:
    benchmarks = {**made_up.BENCHMARKS, "study": made_up.BENCHMARKS["tiny"]}
    with pytest.raises(InvalidData, match="no benchmark can be called 'study'"):
        build(project, ("small", "study"), benchmarks=benchmarks)
