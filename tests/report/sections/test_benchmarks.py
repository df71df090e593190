from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clipn.errors import InvalidParams
from clipn.report.sections.benchmarks import Benchmarks
from clipn.utils.files import write_json
from tests.report import made_up

VALIDATED = {**made_up.BENCHMARKS, "small": replace(made_up.BENCHMARKS["small"], validation="tiny")}


def read(project: Path, **further: Any) -> Benchmarks:
    return Benchmarks.read(project, made_up.params(**{"seeds": (0, 1), "curves": ("CLIPN-CTW", "1-NN"), **further}))


def test_everything_is_read(project: Path) -> None:
    part = read(project, names=("tiny", "small"))
    assert part.benchmarks() == ["tiny", "small"]
    assert [method.name for method in part.measured["small"].summary.methods] == ["MSP", "CLIPN-CTW"]
    assert part.measured["small"].comparisons.best == "MSP"
    assert list(part.measured["small"].drawn.roc) == ["CLIPN-CTW"]
    assert part.drawn() == {"CLIPN-CTW": True}
    assert list(part.plot_data()) == [
        *("roc/tiny.csv", "roc/small.csv", "histograms/tiny.csv", "histograms/small.csv"),
        *("average.csv", "auroc.csv"),
    ]
    assert part.metrics().keys() == {"tiny", "small"}


def test_curves_of_untrained_methods_do_not_ask_for_seeds(project: Path) -> None:
    part = read(project, curves=("MSP",))
    assert list(part.measured["small"].drawn.roc) == ["MSP"]


def test_validation_benchmarks_follow_the_others(project: Path) -> None:
    part = read(project, benchmarks=VALIDATED)
    assert [(name, m.validates) for name, m in part.measured.items()] == [("small", False), ("tiny", True)]
    assert part.measured["small"].sentences[-1] == (
        "No combination of scores was measured both here and on the validation benchmark tiny."
    )
    assert not any("validation" in sentence for sentence in part.measured["tiny"].sentences)


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
    sentence = read(project, benchmarks=VALIDATED).measured["small"].sentences[-1]
    assert sentence == (
        "Of 1 combination, ATD+NegLabel has the highest average AUROC on the validation benchmark tiny (90.00). "
        "Here it reaches 90.00, rank 1 of 2."
    )


def test_a_validation_benchmark_has_to_be_evaluated(project: Path) -> None:
    with pytest.raises(InvalidParams, match=r"benchmarks\.small\.validation: 'tiny' was not evaluated; known: small"):
        read(project, names=("small",), benchmarks=VALIDATED)
