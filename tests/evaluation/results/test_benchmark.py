"""The metrics of a benchmark: names of models, and parts that do not fit together."""

from __future__ import annotations

from dataclasses import replace

from clipn.evaluation.results.benchmark import BenchmarkMetrics
from tests.report import made_up

OOD = ("dogs", "cars")
METRICS = BenchmarkMetrics(
    **made_up.run(OOD, "small", {"CLIPN-CTW": made_up.measured(True, {"dogs": (0.5, 0.5), "cars": (1, 0)})})
)
CTW = METRICS.methods["CLIPN-CTW"]


def test_the_model_and_the_convention_by_name() -> None:
    assert METRICS.model == "baselines"
    assert replace(METRICS, seed=0).model == "seed-0"
    assert replace(METRICS, imported="released").model == "imported-released"
    assert METRICS.fpr_key == "fpr95_id_interpolated"
    assert replace(METRICS, fpr_convention="ood-first").fpr_key == "fpr95_ood_first"


def test_needs_are_written_in_order() -> None:
    assert METRICS.as_json()["methods"]["CLIPN-CTW"]["needs"] == ["no", "yes"]


def test_what_has_no_value_is_left_out_where_it_is_optional() -> None:
    values = replace(METRICS, id_accuracy=None, calibration=None).as_json()
    assert (values["id_accuracy"], values["calibration"]) == (None, None)
    assert not {"seed", "imported"} & set(values)
    assert "decision" not in values["methods"]["CLIPN-CTW"]


def test_contradictions() -> None:
    assert METRICS.contradiction() is None
    assert replace(METRICS, images={"cats": 4, "dogs": 6}).contradiction() == "images has no number for the set 'cars'"
    untrained = replace(METRICS, methods={"CLIPN-CTW": replace(CTW, trained=False)})
    assert untrained.contradiction() == "methods.CLIPN-CTW.trained is False, but it needs no, yes"
    one_set = replace(METRICS, methods={"CLIPN-CTW": replace(CTW, ood={"dogs": CTW.ood["dogs"]})})
    assert one_set.contradiction() == "methods.CLIPN-CTW.ood has no cars"
    average = replace(CTW, average=replace(CTW.average, auroc=0.8))
    other = replace(METRICS, methods={"CLIPN-CTW": average})
    assert other.contradiction() == "methods.CLIPN-CTW.average.auroc is 0.8, but the sets' mean is 0.750000"
