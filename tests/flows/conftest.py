"""Prefect servers for tests of flows, and a project that is ready for scoring."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from prefect.settings import PREFECT_SERVER_API_PORT, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from clipn.data import manifest
from clipn.data.manifest import Entry
from clipn.evaluation import duplicates
from clipn.features import encode
from clipn.features.rows import FeatureBatch
from clipn.features.store import write_index
from clipn.features.writer import write_shard
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.training.pretrain import preprocess_cfg
from clipn.utils.processes import end_child, free_port
from flows.runtime.server import selection
from tests.conftest import ROOT, TINY
from tests.waiting import wait_until


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    # Tests do not find a server that whoever runs them has on this machine.
    nobody = free_port()
    with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_SERVER_API_PORT: nobody}):
        patch.setenv("PREFECT_SERVER_API_PORT", str(nobody))
        with prefect_test_harness(server_startup_timeout=120):
            yield


@dataclass(frozen=True)
class OwnServer:
    """A server as people run it.

    Attributes:
        url: of its API.
        home: its PREFECT_HOME.
        environment: of processes that use it.
    """

    url: str
    home: Path
    environment: dict[str, str]


@contextmanager
def running_server(home: Path, **settings: str) -> Iterator[OwnServer]:
    """`prefect server start` on a free loopback port, stopped at the end of the block.

    Args:
        home: its PREFECT_HOME, where server.log lies too.
        settings: further environment variables of the server and of its users.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept,
        "PATH": path,
        "PYTHONPATH": modules,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        **settings,
    }
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: selection.answers(url) or process.poll() is not None, 120, "the server to start")
        assert process.poll() is None, log.read_text()
        yield OwnServer(url, home, {**environment, "PREFECT_API_URL": url})
    finally:
        end_child(process, 20)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """One for the tests of a module that need worker processes or other commands beside it."""
    with running_server(tmp_path_factory.mktemp("own_server")) as running:
        yield running


@pytest.fixture
def scored_project(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with random features of three sets and of ID images, two duplicates, and the model of seed 0."""
    monkeypatch.chdir(ROOT)
    values = profiles.compose(
        "smoke",
        [
            "benchmarks.pictographs.ood=[greek,digits]",
            "study.benchmarks=[pictographs]",
            "evaluate.imported=[same,handcrafted]",
        ],
    )
    params = parse_params(values)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), "data/backbone")
    clip = backbone.load("data/backbone")
    rng = np.random.default_rng(0)
    meta = encode.describe(clip, params.features, "evaluation", ("sun", "cloud"))
    for name in ("pictographs", "greek", "digits", "pictographs_fit"):
        folder = Path("data/features/sets") / name
        folder.mkdir(parents=True)
        image = rng.normal(size=(6, meta.dim))
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        pooled = rng.normal(size=(6, meta.pooled))
        keys = [str(i) for i in range(6)]
        with write_shard(folder / "00000.parquet", meta) as shard:
            shard.append(FeatureBatch(keys, image, label=np.arange(6, dtype=np.int32) % 2, pooled=pooled))
        write_index(folder, [folder / "00000.parquet"])
        entries = [Entry(key, key, shard="images.tar", sha256=f"{name}{key}") for key in keys]
        manifest.write(Path("data/sets") / name / "manifest.parquet", entries)
    found = [("greek", "4", "id", "0", 1.0, True), ("digits", "2", "training", "5", 0.99, False)]
    rows = [dict(zip(duplicates.SCHEMA.names, row, strict=True)) for row in found]
    Path("data/overlap/pictographs").mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=duplicates.SCHEMA)
    pq.write_table(table, "data/overlap/pictographs/duplicates.parquet")
    encoder = NoTextEncoder(clip.model, n_prompts=2)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts)
    learnable = NoEncoderConfig("learnable", 2, None, False, clip.fingerprint, seed=None)
    no_encoder.save(encoder, learnable, "models/clipn/seed-0")
    return tmp_path
