"""Stages on a real Ray cluster of several nodes on this machine: equal outputs, and no work lost with a node."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from prefect import flow
from prefect.settings import PREFECT_API_URL

from clipn.data import tars
from clipn.data.download import download
from clipn.errors import ClipnError
from clipn.features.shards import ShardTask, describe, plan
from clipn.models import backbone
from clipn.training import step_log
from clipn.training.pretrain import preprocess_cfg
from flows.features import shards
from flows.ray import cluster
from flows.stages import train
from flows.stages.download import place
from flows.training import ray_trainer, trainer
from tests.conftest import ROOT, TINY
from tests.data.download.test_download import PARAMS as DOWNLOAD
from tests.data.download.test_download import picture, write_captions
from tests.features.test_shards import PARAMS, folder_of, png
from tests.flows.ray_cluster import LocalCluster, Node
from tests.same_features import assert_same_features
from tests.waiting import wait_until

HIDDEN = "hidden"
"""A folder that the node `half_blind` does not see."""


@dataclasses.dataclass
class Cluster:
    local: LocalCluster
    hidden: Path
    nodes: list[Node]
    """Besides the head."""

    def with_nodes(self, count: int) -> list[Node]:
        """So many nodes besides the head."""
        while len(self.nodes) < count:
            self.nodes.append(self.local.add())
        return self.nodes

    def lose(self, node: Node, *, only_raylet: bool) -> None:
        self.nodes.remove(node)
        node.kill_raylet() if only_raylet else node.kill()


@pytest.fixture(scope="module")
def cluster_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    hidden = tmp_path_factory.mktemp(HIDDEN)
    with LocalCluster() as local:
        cover = f'mount -t tmpfs none {hidden} && exec "$@"'
        blind = ("unshare", "--mount", "--map-root-user", "sh", "-c", cover, "sh") if os.geteuid() else (
            "unshare", "--mount", "sh", "-c", cover, "sh")  # fmt: skip
        found = Cluster(local, hidden, [local.add(), local.add(before=blind)])
        yield found


@pytest.fixture
def ray_cluster(cluster_of_three: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("RAY_ADDRESS", cluster_of_three.local.address)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return cluster_of_three


@pytest.fixture
def project(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), "backbone")
    return tmp_path


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something beside the block, in another thread; what goes wrong there is raised here."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_node_without_the_project_s_folder_is_named(ray_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ray_cluster.hidden)
    with pytest.raises(ClipnError) as caught, cluster.connected():
        pytest.fail("not reached")
    said = str(caught.value)
    assert f"does not see the folder {ray_cluster.hidden}" in said
    assert said.count("does not see") == 1  # the other two do


# Training


@pytest.fixture
def training(training_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project where training takes some hundred steps."""
    folder = tmp_path / "project"
    shutil.copytree(training_project, folder)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["train"]["epochs"] = 8
    values["train"]["check"]["every"] = 0
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLIPN_PROCESSES", "2")
    return folder


def lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.is_file() else 0


WORDS = ["0", "--work", "data/work/train/seed-0", "--out", "models/clipn/seed-0", "--checkpoint-seconds", "0.2"]


@flow
def train_on_the_cluster() -> int:
    with ray_trainer.started(WORDS, 16) as training:
        while training.running():
            time.sleep(0.1)
        training.check()
        return training.processes


def test_training_goes_on_without_a_lost_node_and_gives_the_same_model(ray_cluster: Cluster, training: Path) -> None:
    ray_cluster.with_nodes(2)
    log = Path("data/work/train/seed-0/steps.csv")
    before: list[str] = []

    def lose_a_node() -> None:
        wait_until(lambda: lines(log) > 8)
        before.extend(log.read_text().splitlines()[:6])
        working = [node for node in ray_cluster.nodes if node.runs("clipn")]
        ray_cluster.lose(working[0], only_raylet=True)

    with meanwhile(lose_a_node):
        assert train_on_the_cluster() == 2
    # The rows have each step's speed, so equal ones were not made twice: it went on from a checkpoint.
    assert log.read_text().splitlines()[:6] == before
    assert [step.step for step in step_log.read(log)] == list(range(8 * 12))
    together = content(training / "models/clipn/seed-0")
    shutil.rmtree("data/work")
    with trainer.started(WORDS, 2, cores=2, device="cpu") as alone:
        alone.check()
    assert content(training / "models/clipn/seed-0") == together


# Feature shards


def shards_of(name: str, count: int = 6) -> list[ShardTask]:
    tasks = []
    for i in range(count):
        folder = folder_of(Path("sets") / f"{i:05d}", [png(100 * i + j) for j in range(5)])
        (task,) = plan(folder, folder, f"work/{name}")
        tasks.append(dataclasses.replace(task, out=Path(f"work/{name}/{i:05d}.parquet")))
    return tasks


@flow
def encode(tasks: list[ShardTask], out: Path) -> dict[str, Any]:
    folder = Path("backbone")
    clip = shards.load(folder)
    return shards.encode_all(tasks, clip, describe(clip, PARAMS, "evaluation"), PARAMS, out, folder)


def test_features_are_the_same_although_a_node_was_lost(
    ray_cluster: Cluster, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = ray_cluster.with_nodes(1)[0]

    def lose_the_node() -> None:
        wait_until(lambda: node.runs("ray::encode"))
        ray_cluster.lose(node, only_raylet=False)

    with meanwhile(lose_the_node):
        report = encode(shards_of("together"), project / "together")
    monkeypatch.delenv("RAY_ADDRESS")
    assert report["counts"] == encode(shards_of("alone"), project / "alone")["counts"]
    assert_same_features(project / "together", project / "alone")


def test_an_input_that_is_wrong_is_told_as_on_one_machine(ray_cluster: Cluster, project: Path) -> None:
    tasks = shards_of("together", 2)
    tars.write(tasks[1].tar, [])
    with pytest.raises(ClipnError, match=r"^\S*sets/00001/images.tar lacks 5 images of the manifest"):
        encode(tasks, project / "out")
    assert not (project / "out").exists()


# Downloads


class Gate(BaseHTTPRequestHandler):
    """Answers with an image once the gate is open."""

    opened = threading.Event()
    image = picture(7, (20, 30))

    def do_GET(self) -> None:
        self.opened.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.image)))
        self.end_headers()
        self.wfile.write(self.image)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def captions(tmp_path: Path) -> Iterator[Path]:
    """Four shards of local files, one of them missing, one flaky, and an image in each that waits for the gate."""
    Gate.opened.clear()
    (tmp_path / "images").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rows = []
        for i in range(16):
            if i > 1:
                (tmp_path / f"images/{i}.png").write_bytes(picture(i, (20, 30)))
            url = f"http://127.0.0.1:{server.server_port}/{i}.png" if i % 4 == 3 else f"images/{i}.png"
            rows.append((url, f"number {i}", i == 5))
        yield write_captions(tmp_path, rows)
        Gate.opened.set()
        server.shutdown()


PATIENT = dataclasses.replace(
    DOWNLOAD, samples_per_shard=4, timeout_seconds=60, image_deadline_seconds=60, shard_deadline_seconds=80,
    deadline_seconds=100,
)  # fmt: skip


@flow
def fetch(captions_file: Path, out: Path) -> dict[str, Any]:
    return download.download(captions_file, out, PATIENT, processes=1, threads=4, place=place(captions_file))


def test_downloads_are_the_same_bytes_although_a_node_was_lost(
    ray_cluster: Cluster, captions: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = ray_cluster.with_nodes(1)[0]

    def lose_the_node() -> None:
        wait_until(lambda: node.runs("ray::ray_download"))
        ray_cluster.lose(node, only_raylet=True)
        Gate.opened.set()

    with meanwhile(lose_the_node):
        together = fetch(captions, project / "together")
    monkeypatch.delenv("RAY_ADDRESS")
    alone = fetch(captions, project / "alone")
    assert (together["counts"], together["errors"]) == (alone["counts"], alone["errors"])
    # Ray itself made the lost shards again; a second pass is only for the flaky link.
    assert together["passes"] == alone["passes"]
    assert content(project / "together") == content(project / "alone")


# Interruption


def working(folder: Path) -> list[int]:
    """Processes that train for a project."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and "clipn" in process.cmdline():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_stage_ends_training_on_the_cluster(
    ray_cluster: Cluster, training: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("CLIPN_PROCESSES", "1")
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    with Path("said").open("w") as said:
        parent = subprocess.Popen([sys.executable, "-m", "flows", "train", "0"], stdout=said, stderr=said)
    wait_until(lambda: lines(training / "data/work/train/seed-0/steps.csv") > 5)
    assert working(training)
    parent.send_signal(number)
    code = parent.wait(60)
    if number == signal.SIGINT:
        assert code == 128 + number
        assert not working(training)
        assert "Traceback" not in Path("said").read_text()
        assert list((training / "data/work/train/seed-0/checkpoints").glob("step-*"))
        assert train.run(0)["counts"] == {"pairs": 200, "steps": 8 * 12}
    wait_until(lambda: not working(training))
