"""Feature shards as tasks: a failed shard fails the stage, finished ones are kept for the next run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from prefect import flow

from clipn import backbone, tars
from clipn.errors import ClipnError
from clipn.features import describe, plan
from clipn.pretrain import preprocess_cfg
from clipn.store import FeatureStore
from flows.shards import encode_all

from ..conftest import TINY
from ..test_features import PARAMS, folder_of, png


def test_a_run_goes_on_where_the_last_one_failed(
    tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    clip = backbone.load(tmp_path / "clip")
    meta = describe(clip, "evaluation")
    tasks = []
    for name in ("a", "b"):
        folder = folder_of(tmp_path / name, [png(0), png(1)])
        (task,) = plan(folder, folder, tmp_path / "work")
        tasks.append(type(task)(task.tar, task.entries, tmp_path / "work" / f"{name}.parquet"))
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
