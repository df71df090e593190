"""What RAY_ADDRESS means without a cluster: nothing of Ray is imported, and mistakes are told at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipn.errors import ClipnError, InvalidParams
from flows.features import ray_shards
from flows.ray import cluster
from flows.ray.cluster import Node, Share
from flows.stages.download import _require_reachable
from flows.training import ray_process, ray_trainer
from flows.training.ray_process import Seat
from tests.conftest import ROOT
from tests.data.download.test_download import write_captions
from tests.flows.ray_cluster import free_ports

CPUS = Node("1", "one (10.0.0.1)", "one", cpus=8, gpus=0)
GPUS = Node("2", "two (10.0.0.2)", "two", cpus=8, gpus=2)

WITHOUT = """
import sys
from pathlib import Path
from flows.stages import download, features, set_features, study_features, train
from flows.features import shards
from flows.training import trainer
assert download.place(Path("data/captions/captions.parquet")).distributor == "multiprocessing"
with train._trainer(["0"], 16) as started:
    assert isinstance(started, trainer.Trainer)
try:
    shards.load(Path("nowhere"))
except Exception as error:
    assert "nowhere" in str(error)
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("ray", "prefect_ray")))
"""


def test_without_an_address_nothing_of_ray_is_imported(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, env={**environment, "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("value", ["ray://head:10001", "head", ":6379", "http://head:6379", "local"])
def test_other_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    with pytest.raises(InvalidParams, match="is not HOST:PORT"):
        cluster.address()


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", where)
    with pytest.raises(InvalidParams, match=f"^RAY_ADDRESS={where}: nothing answers there"), cluster.connected():
        pytest.fail("not reached")


def test_the_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setitem(sys.modules, "prefect_ray", None)  # as if it were not installed
    with pytest.raises(ClipnError, match=r"prefect-ray is not installed: pip install 'clipn\[ray\]'"):
        cluster.address()


def test_the_device_is_the_cluster_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPN_DEVICE", raising=False)
    assert [cluster.device([CPUS]), cluster.device([CPUS, GPUS])] == ["cpu", "cuda"]
    monkeypatch.setenv("CLIPN_DEVICE", "cpu")
    assert cluster.device([CPUS, GPUS]) == "cpu"
    monkeypatch.setenv("CLIPN_DEVICE", "cuda")
    with pytest.raises(InvalidParams, match=r"CLIPN_DEVICE=cuda cannot be used.*this one has 0"):
        cluster.device([CPUS])


def test_a_shard_takes_a_core_or_a_gpu_with_its_part_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPN_WORKERS", raising=False)
    assert ray_shards.share_of([CPUS, GPUS], "cpu") == Share(1)
    assert ray_shards.share_of([CPUS, GPUS], "cuda") == Share(4, 1)
    monkeypatch.setenv("CLIPN_WORKERS", "2")
    assert ray_shards.share_of([CPUS, GPUS], "cpu") == Share(2)
    monkeypatch.setenv("CLIPN_WORKERS", "9")
    with pytest.raises(InvalidParams, match="no node of the Ray cluster has 9 CPUs beside a GPU; the largest has 8"):
        ray_shards.share_of([CPUS, GPUS], "cuda")


def test_training_processes_take_equal_shares_of_the_cluster() -> None:
    assert ray_process.share_of([CPUS, GPUS], 1, "cpu") == Share(8)
    assert ray_process.share_of([CPUS, GPUS], 3, "cpu") == Share(4)
    assert ray_process.share_of([CPUS, GPUS], 2, "cuda") == Share(4, 1)
    with pytest.raises(InvalidParams, match=r"CLIPN_PROCESSES=3, but the Ray cluster has room for 2: .* and a GPU"):
        ray_process.share_of([CPUS, GPUS], 3, "cuda")


def test_after_a_loss_training_goes_on_with_as_many_as_divide_the_batch() -> None:
    assert ray_trainer.possible([CPUS], 8, "cpu", 512) == 8
    assert ray_trainer.possible([Node("3", "three", "three", 3, 0)], 8, "cpu", 512) == 2
    with pytest.raises(ClipnError, match="no node is left"):
        ray_trainer.possible([CPUS], 2, "cuda", 512)


def test_processes_of_a_node_share_its_gpus_and_find_the_first_one() -> None:
    seats = [Seat("a", "10.0.0.1", ("0",), 1111), Seat("a", "10.0.0.1", ("3",), 2222), Seat("b", "10.0.0.2", ("0",), 3)]
    found = ray_process.environments(seats, cpus=4)
    keys = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES")
    assert [[variables[key] for key in keys] for variables in found] == [
        ["0", "0", "3", "10.0.0.1", "1111", "0,3"],
        ["1", "1", "3", "10.0.0.1", "1111", "0,3"],
        ["2", "0", "3", "10.0.0.1", "1111", "0"],
    ]


def test_processes_talk_over_the_interface_of_their_node_s_address() -> None:
    assert ray_process.interface_of("127.0.0.1") == "lo"
    assert ray_process.interface_of("192.0.2.1") is None
    seats = [Seat("a", "10.0.0.1", (), 1, "eth0"), Seat("b", "10.0.0.2", (), 1, "ens5"), Seat("c", "10.0.0.3", (), 1)]
    found = ray_process.environments(seats, cpus=1)
    assert [variables.get("GLOO_SOCKET_IFNAME") for variables in found] == ["eth0", "ens5", None]


def test_local_files_need_an_address_that_nodes_elsewhere_reach(tmp_path: Path) -> None:
    captions = write_captions(tmp_path, [("images/a.png", "x", False)])
    with pytest.raises(InvalidParams, match=r"which the node one \(10.0.0.1\) cannot fetch.*CLIPN_SERVE_HOST"):
        _require_reachable("127.0.0.1", [CPUS], captions)
    with pytest.raises(InvalidParams, match="is no address that nodes can ask"):
        _require_reachable("0.0.0.0", [CPUS], captions)
    _require_reachable("10.0.0.9", [CPUS], captions)
    _require_reachable("127.0.0.1", [], captions)
    of_the_web = write_captions(tmp_path / "web", [("https://example.org/a.png", "x", False)])
    _require_reachable("127.0.0.1", [CPUS], of_the_web)
