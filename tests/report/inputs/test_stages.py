from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipn.errors import InvalidData, NonFinite
from clipn.report.inputs import stages
from clipn.utils.files import write_json, write_text


def test_stages_are_those_that_were_asked_for_in_that_order(project: Path) -> None:
    write_json(project / "reports/stages/train-0.json", {"seconds": {"total": 1}, "counts": {"steps": 5}})
    found = stages.read(project, ["captions", "download", "backbone", "train-0"])
    assert [stage.name for stage in found] == ["captions", "download", "train-0"]
    assert [stage.seconds for stage in found] == [1.5, 4.5, 1.0]
    assert found[1].counts == {"in": 1200, "out": 1190, "shards": 3}
    assert found[1].dropped == {"http_404": 10}


@pytest.mark.parametrize(
    "values", [{"counts": {}}, {"seconds": {"fit": 1}}, {"seconds": 3, "counts": {}}, [], {"seconds": {}, "counts": 3}]
)
def test_wrong_stage_reports_are_refused(tmp_path: Path, values: Any) -> None:
    write_json(tmp_path / "reports/stages/train-0.json", values)
    with pytest.raises(InvalidData, match=r"train-0\.json"):
        stages.read(tmp_path, ["train-0"])


def test_non_finite_seconds_are_named(tmp_path: Path) -> None:
    write_text(tmp_path / "reports/stages/train-0.json", '{"seconds": {"fit": Infinity}, "counts": {}}')
    with pytest.raises(NonFinite, match=r"train-0\.json: seconds\.fit is inf"):
        stages.read(tmp_path, ["train-0"])
