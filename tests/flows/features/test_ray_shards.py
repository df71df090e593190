"""Feature shards on a cluster that is only played: how long is waited, and what ends it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from clipn.errors import ClipnError
from clipn.features.shards import ShardTask
from flows.features import ray_shards
from flows.ray import cluster
from flows.ray.cluster import Node, Share

NODE = Node("1", "one (10.0.0.1)", "one", cpus=4, gpus=0)
OTHER = Node("2", "two (10.0.0.2)", "two", cpus=4, gpus=0)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Plays Ray: each task is its own final state, and one ends at a time. Gives what progress was shown."""
    shown: list[tuple[int, int]] = []

    def get(ref: Any) -> Any:
        if isinstance(ref.result, Exception):
            raise ref.result
        return ref.result

    monkeypatch.setattr(
        ray_shards,
        "ray",
        SimpleNamespace(wait=lambda pending, timeout: (pending[:1], pending[1:]), get=get, exceptions=ray.exceptions),
    )
    monkeypatch.setattr(ray_shards, "StageProgress", lambda what: lambda done, total: shown.append((done, total)))
    monkeypatch.setattr(ray_shards, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setattr(ray_shards, "POLL_SECONDS", -1.0)  # nodes are checked each time
    monkeypatch.setattr(cluster, "nodes", lambda: [NODE])
    return shown


class Ref:
    """Plays the reference of a task."""

    def __init__(self, result: State[Any] | Exception) -> None:
        self.result = result


def test_images_of_finished_shards_are_counted(played: list[tuple[int, int]]) -> None:
    ray_shards._wait({Ref(Completed()): 5, Ref(Completed()): 2}, Share(1), [NODE])
    assert played == [(5, 7), (7, 7)]


def test_the_first_failed_shard_ends_it(played: list[tuple[int, int]]) -> None:
    refs = {Ref(Completed()): 5, Ref(Failed(message="a.tar lacks 2 images")): 2, Ref(Completed()): 9}
    with pytest.raises(ClipnError, match=r"^a\.tar lacks 2 images$"):
        ray_shards._wait(refs, Share(1), [NODE])
    assert played == [(5, 16)]


@pytest.mark.usefixtures("played")
def test_a_shard_that_is_lost_too_often_is_an_error_with_the_way_out() -> None:
    lost = Ref(ray.exceptions.WorkerCrashedError())
    with pytest.raises(ClipnError, match=r"a shard was lost 4 times .*out of memory\? CLIPN_WORKERS makes fewer"):
        ray_shards._wait({lost: 5}, Share(1), [NODE])


@pytest.mark.usefixtures("played")
def test_a_defect_keeps_its_traceback() -> None:
    defect = ray.exceptions.RayTaskError("encode", "Traceback", ZeroDivisionError())
    with pytest.raises(ray.exceptions.RayTaskError):
        ray_shards._wait({Ref(defect): 5}, Share(1), [NODE])


@pytest.mark.usefixtures("played")
def test_a_lost_node_is_named_and_no_node_at_all_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray_shards._wait({Ref(Completed()): 5}, Share(1), [NODE, OTHER])
    assert "Node two (10.0.0.2) is gone; its shards are made again on the others" in caplog.text
    monkeypatch.setattr(cluster, "nodes", lambda: [])
    with pytest.raises(ClipnError, match="no node is left in the Ray cluster that could make a shard"):
        ray_shards._wait({Ref(Completed()): 5}, Share(1), [NODE])


def test_nodes_get_paths_that_do_not_depend_on_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = ray_shards._absolute(ShardTask(Path("a.tar"), (), Path("work/a.parquet")))
    assert (task.tar, task.out) == (tmp_path / "a.tar", tmp_path / "work/a.parquet")
