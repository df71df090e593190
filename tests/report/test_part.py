"""The parts of the report, read from a made-up project one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipn import report
from clipn.config import BenchmarkParams
from clipn.report.part import Part
from clipn.report.sections import appendix
from clipn.report.sections.attack import Attacks
from clipn.report.sections.benchmarks import Benchmarks
from clipn.report.sections.published import Elsewhere
from clipn.report.sections.robustness import RobustnessOfBenchmarks
from clipn.report.sections.study import Studies
from tests.report import made_up

NOTHING = made_up.params(published=False)
EVERYTHING = made_up.params(
    ("small",),
    studies=made_up.BACKBONES,
    study_benchmarks=("small",),
    attacks=("small",),
    robust=("small",),
    curves=("CLIPN-CTW", "1-NN"),
)


@pytest.mark.parametrize("form", report.PARTS)
def test_without_results_a_part_shows_nothing(form: type[Part], tmp_path: Path) -> None:
    part = form.read(tmp_path, NOTHING)
    assert part.sections({}) == []
    assert part.drawn() == part.plot_data() == part.metrics() == {}
    assert part.benchmarks() == part.stages() == []


def test_what_each_part_gives(project: Path, add_further: Callable[[Path], None]) -> None:
    add_further(project)
    parts = {form: form.read(project, EVERYTHING) for form in report.PARTS}
    assert parts[Studies].drawn() == {"1-NN": False}
    assert list(parts[Studies].plot_data()) == ["study.csv"]
    assert list(parts[Studies].metrics()) == list(made_up.BACKBONES)
    assert (parts[Attacks].drawn(), parts[Attacks].plot_data()) == ({}, {})
    assert list(parts[Attacks].metrics()) == ["small"]
    assert parts[RobustnessOfBenchmarks].drawn() == {"CLIPN-CTW": True}
    assert list(parts[RobustnessOfBenchmarks].plot_data()) == ["robustness.csv"]
    assert [section.title for section in parts[Elsewhere].sections({})] == ["Published results on ImageNet-1K"]


def test_stages_are_those_that_led_here() -> None:
    benchmarks = {
        "small": BenchmarkParams(id="cats", ood=("dogs", "cars"), fit="kittens"),
        "tiny": BenchmarkParams(id="cats", ood=("cars",)),
    }
    params = made_up.params(("small",), (3,), benchmarks=benchmarks, imported=("released",), studies=("vit",))

    class Named(Part):
        @classmethod
        def read(cls, root: Path, params: object) -> Named:
            return cls()

        def sections(self, styles: object) -> list:
            return []

        def benchmarks(self) -> list[str]:
            return ["tiny"]

        def stages(self) -> list[str]:
            return ["named-tiny"]

    evaluated = Benchmarks(params, dict.fromkeys(["small"]))  # type: ignore[arg-type]
    assert appendix.stage_names(params, [evaluated, Studies(params, []), Named()]) == [
        "captions", "download", "backbone", "features", "words",
        "sets-cats", "sets-dogs", "sets-cars", "sets-kittens",
        "set_features-cats", "set_features-dogs", "set_features-cars", "set_features-kittens",
        "train-3", "overlap-small", "baselines-small", "evaluate-small-3", "evaluate_imported-small-released",
        "study_backbone-vit", "study_features-vit", "study-vit", "named-tiny",
    ]  # fmt: skip
