"""One shard within a task run: its report, or a run that fails at once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from clipn.features import shards
from clipn.features.shards import ShardReport, describe
from clipn.models.backbone import Backbone
from flows.features import shard
from tests.features.test_shards import PARAMS
from tests.flows.features.test_shards import clip, two_tasks

__all__ = ["clip"]


@pytest.fixture(autouse=True)
def no_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "get_run_logger", lambda: logging.getLogger("test"))


def test_a_shard_is_made_and_reported(clip: Backbone, tmp_path: Path) -> None:
    task, _ = two_tasks(tmp_path)
    report = shard.encode_one("a", task, clip, describe(clip, PARAMS, "evaluation"), PARAMS, workers=1)
    assert isinstance(report, ShardReport)
    assert (report.rows, report.reused) == (2, False)
    assert task.out.is_file()


def test_invalid_input_is_a_state_and_not_tried_again(
    clip: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, _ = two_tasks(tmp_path)
    task.tar.unlink()
    state = shard.encode_one("a", task, clip, describe(clip, PARAMS, "evaluation"), PARAMS, workers=1)
    assert isinstance(state, State)
    assert state.is_failed()
    assert str(task.tar) in str(state.message)
    assert str(task.tar) in caplog.text


def test_a_defect_keeps_its_traceback(clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = two_tasks(tmp_path)
    monkeypatch.setattr(shards, "encode_shard", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shard.encode_one("a", task, clip, describe(clip, PARAMS, "evaluation"), PARAMS, workers=1)
