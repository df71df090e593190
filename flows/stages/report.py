"""Stage `report`: tables, plots and the page that people look at."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_markdown_artifact

from clipn import paths, report
from clipn.project.params import read_params
from flows.runtime.stage import stage


@stage("report")
def run() -> dict[str, Any]:
    """Average over seeds, compare, lay out the tables, draw the plots."""
    params = read_params()
    report.build(params)
    create_markdown_artifact(paths.RESULTS.read_text(encoding="utf-8"), key="results", description=params.report.title)
    return {"counts": {"benchmarks": len(params.evaluate.benchmarks), "seeds": len(params.train.seeds)}}
