"""Reads the reports of the stages: what each counted when it last ran."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clipn import paths
from clipn.errors import InvalidData
from clipn.evaluation.results.base import refuse_non_finite
from clipn.utils.files import read_json


@dataclass(frozen=True)
class Stage:
    """The report of one stage on its last run."""

    name: str
    seconds: float
    counts: dict[str, int]
    """`in`, `out` and others."""
    dropped: dict[str, int]
    """Reason → number."""


def read(root: Path, names: Iterable[str]) -> list[Stage]:
    """Read `reports/stages/<name>.json` of those stages that have one.

    Raises:
        InvalidData: a file is no stage report.
        NonFinite: a value is NaN or infinite.
    """
    files = [root / paths.STAGES / f"{name}.json" for name in names]
    return [_stage(path) for path in files if path.is_file()]


def _stage(path: Path) -> Stage:
    values = read_json(path)
    refuse_non_finite(values, path)
    try:
        counts = values.get("counts", {})
        numbers = {kind: count for kind, count in counts.items() if type(count) is int}
        return Stage(path.stem, float(values["seconds"]["total"]), numbers, dict(counts.get("dropped", {})))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidData(f"{path} is no stage report with seconds and counts ({error!r}); run 'dvc repro'") from error
