from __future__ import annotations

from clipn.evaluation.results.benchmark import BenchmarkMetrics
from clipn.evaluation.results.study import StudyResult
from tests.report import made_up


def test_benchmarks_are_results_themselves() -> None:
    result = StudyResult(**made_up.study("green"))
    assert (result.backbone, result.dim, result.pooled) == ("green", 8, 12)
    assert isinstance(result.benchmarks["small"], BenchmarkMetrics)
    assert list(result.benchmarks["small"].methods) == ["MCM", "1-NN", "Probe-MSP"]
