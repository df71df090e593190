from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidParams
from clipn.report import gather
from clipn.report.gather import Asked
from clipn.utils.files import write_json
from tests.report import made_up

BENCHMARKS = {
    "small": BenchmarkParams(id="cats", ood=("dogs", "cars"), fit="kittens"),
    "tiny": BenchmarkParams(id="cats", ood=("cars",)),
}
ASKED = Asked(
    names=("tiny", "small"),
    benchmarks=BENCHMARKS,
    seeds=(0, 1),
    imported=(),
    studies=(),
    study_benchmarks=(),
    attacks=(),
    robust=(),
    wanted=("CLIPN-CTW", "1-NN"),
)
VALIDATED = replace(ASKED, benchmarks={**BENCHMARKS, "small": replace(BENCHMARKS["small"], validation="tiny")})


def test_everything_is_read(project: Path, add_further: Callable[[Path], None]) -> None:
    add_further(project)
    asked = replace(
        ASKED, studies=made_up.BACKBONES, study_benchmarks=("small",), attacks=("small",), robust=("small",)
    )
    results = gather.read(project, asked)
    assert list(results.benchmarks) == ["tiny", "small"]
    assert [method.name for method in results.benchmarks["small"].summary.methods] == ["MSP", "CLIPN-CTW"]
    assert results.benchmarks["small"].comparisons.best == "MSP"
    assert list(results.benchmarks["small"].drawn.roc) == ["CLIPN-CTW"]
    assert [study.backbone for study in results.studies] == list(made_up.BACKBONES)
    assert (len(results.attacks), len(results.robust)) == (1, 1)
    assert list(results.training) == [0, 1]
    assert results.samples.keys() == {"cats", "dogs", "cars"}
    assert [stage.name for stage in results.stages] == ["captions", "download"]
    assert results.drawn(asked) == {"CLIPN-CTW": True, "1-NN": False}


def test_curves_of_untrained_methods_do_not_ask_for_seeds(project: Path) -> None:
    results = gather.read(project, replace(ASKED, wanted=("MSP",)))
    assert list(results.benchmarks["small"].drawn.roc) == ["MSP"]


def test_validation_benchmarks_follow_the_others(project: Path) -> None:
    results = gather.read(project, VALIDATED)
    assert [(name, m.validates) for name, m in results.benchmarks.items()] == [("small", False), ("tiny", True)]
    assert results.benchmarks["small"].sentences[-1] == (
        "No combination of scores was measured both here and on the validation benchmark tiny."
    )
    assert not any("validation" in sentence for sentence in results.benchmarks["tiny"].sentences)


def test_a_combination_is_chosen_on_the_validation_benchmark(project: Path) -> None:
    for name, ood in (("small", ("dogs", "cars")), ("tiny", ("cars",))):
        path = project / f"reports/metrics/{name}/baselines.json"
        # Its scores are MSP's: a combination by its name, whatever it needs.
        values = made_up.run(ood, name, {"ATD+NegLabel": made_up.measured(False, dict.fromkeys(ood, (0.9, 0.2)))})
        write_json(path, values)
        scores = project / f"data/scores/{name}/baselines.parquet"
        table = pq.read_table(scores)
        columns = ["ATD+NegLabel" if column == "MSP" else column for column in table.column_names]
        pq.write_table(table.rename_columns(columns), scores)
    sentence = gather.read(project, VALIDATED).benchmarks["small"].sentences[-1]
    assert sentence == (
        "Of 1 combination, ATD+NegLabel has the highest average AUROC on the validation benchmark tiny (90.00). "
        "Here it reaches 90.00, rank 1 of 2."
    )


def test_a_validation_benchmark_has_to_be_evaluated(project: Path) -> None:
    with pytest.raises(InvalidParams, match=r"benchmarks\.small\.validation: 'tiny' was not evaluated; known: small"):
        gather.read(project, replace(VALIDATED, names=("small",)))


def test_stages_are_those_that_led_here() -> None:
    asked = replace(
        ASKED,
        names=("small",),
        seeds=(3,),
        imported=("released",),
        studies=("vit",),
        study_benchmarks=("tiny",),
        attacks=("small",),
        robust=("tiny",),
    )
    assert asked.stages == [
        "captions", "download", "backbone", "features", "words",
        "sets-cats", "sets-dogs", "sets-cars", "sets-kittens",
        "set_features-cats", "set_features-dogs", "set_features-cars", "set_features-kittens",
        "train-3", "overlap-small", "baselines-small", "evaluate-small-3", "evaluate_imported-small-released",
        "study_backbone-vit", "study_features-vit", "study-vit", "attack-small", "robustness-tiny",
    ]  # fmt: skip
