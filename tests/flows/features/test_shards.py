"""Feature shards as tasks: a failed shard fails the stage, finished ones are kept for the next run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prefect import flow

from clipn.data import tars
from clipn.errors import ClipnError
from clipn.features import store
from clipn.features.shards import ShardReport, ShardTask, describe, encode_shard, plan
from clipn.features.store import FeatureStore
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.training.pretrain import preprocess_cfg
from flows.features import shards
from flows.features.shards import encode_all
from tests.conftest import TINY
from tests.features.test_shards import PARAMS, folder_of, png


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


def two_tasks(folder: Path) -> list[ShardTask]:
    tasks = []
    for name in ("a", "b"):
        folder_of(folder / name, [png(0), png(1)])
        (task,) = plan(folder / name, folder / name, folder / "work")
        tasks.append(replace(task, out=folder / "work" / f"{name}.parquet"))
    return tasks


def test_a_run_goes_on_where_the_last_one_failed(clip: Backbone, tmp_path: Path) -> None:
    meta = describe(clip, PARAMS, "evaluation")
    tasks = two_tasks(tmp_path)
    good = tasks[1].tar.read_bytes()
    tars.write(tasks[1].tar, [])

    @flow
    def run() -> dict:
        return encode_all(tasks, clip, meta, PARAMS, tmp_path / "out")

    with pytest.raises(ClipnError, match="lacks 2 images of the manifest"):
        run()
    assert not (tmp_path / "out").exists()
    tasks[1].tar.write_bytes(good)
    report = run()
    assert report["counts"] == {"in": 4, "out": 4, "dropped": {}, "shards": 2, "shards_reused": 1}
    assert len(FeatureStore.open(tmp_path / "out", clip.fingerprint)) == 4
    shards = json.loads((tmp_path / "out/index.json").read_text())["shards"]
    assert {name: shard["rows"] for name, shard in shards.items()} == {"a.parquet": 2, "b.parquet": 2}
    assert not (tmp_path / "work").exists()


def test_a_shard_that_failed_once_is_tried_again(
    clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refused_once(task: ShardTask, *args: Any, **options: Any) -> ShardReport:
        tried.append(task.out.stem)
        if len(tried) == 1:
            raise OSError("the disk is busy")
        return encode_shard(task, *args, **options)

    monkeypatch.setattr("clipn.features.shards.encode_shard", refused_once)
    monkeypatch.setattr(shards, "encode", shards.encode.with_options(retry_delay_seconds=0))

    @flow
    def run() -> dict:
        return encode_all(two_tasks(tmp_path), clip, describe(clip, PARAMS, "evaluation"), PARAMS, tmp_path / "out")

    assert run()["counts"]["out"] == 4
    assert tried == ["a", "a", "b"]


def test_finished_shards_outlive_an_interrupt_while_they_are_gathered(
    clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = two_tasks(tmp_path)

    @flow
    def run() -> dict:
        return encode_all(tasks, clip, describe(clip, PARAMS, "evaluation"), PARAMS, tmp_path / "out")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (tmp_path / "out").exists()
    assert run()["counts"]["shards_reused"] == 2
