"""Where training processes are put on a cluster, and what their actors do; without Ray's own processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from clipn.errors import InvalidParams
from flows.ray.cluster import Node, Share
from flows.training import ray_process
from flows.training.ray_process import Output, Seat
from tests.conftest import ROOT
from tests.waiting import wait_until

CPUS = Node("1", "one (10.0.0.1)", "one", cpus=8, gpus=0)
GPUS = Node("2", "two (10.0.0.2)", "two", cpus=8, gpus=2)

PROGRAM = """\
import os, signal, sys, threading
print("words", *sys.argv[1:], os.environ["EXTRA"], file=sys.stderr, flush=True)
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
print("ready", file=sys.stderr, flush=True)
while not asked.wait(0.05):
    pass
sys.exit("error: stopped" if "stubborn" not in sys.argv else threading.Event().wait())
"""


def process() -> Any:
    """The actor's class as it is on its node."""
    return ray_process.Process.__ray_metadata__.modified_class()  # type: ignore[attr-defined]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder whose module `clipn` stands in for the command."""
    (tmp_path / "clipn.py").write_text(PROGRAM)
    return tmp_path


def lines_until(actor: Any, last: str) -> list[str]:
    lines: list[str] = []

    def there() -> bool:
        lines.extend(actor.poll().lines)
        return last in lines

    wait_until(there, what=last)
    return lines


def test_processes_take_equal_shares_of_the_cluster() -> None:
    assert ray_process.share_of([CPUS], 3, "cpu") == Share(2)
    assert ray_process.share_of([CPUS, GPUS], 1, "cuda") == Share(8, 1)
    assert [ray_process.room([CPUS, GPUS], device) for device in ("cpu", "cuda")] == [16, 2]
    with pytest.raises(InvalidParams, match=r"CLIPN_PROCESSES=9, .* has room for 8: each process takes a CPU$"):
        ray_process.share_of([CPUS], 9, "cpu")


def test_variables_of_one_process_on_a_cpu() -> None:
    (variables,) = ray_process.environments([Seat("a", "10.0.0.1", (), 4711)], cpus=3)
    assert variables == {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4711",
        "OMP_NUM_THREADS": "3",
    }


def test_a_process_runs_the_command_and_ends_when_it_is_asked(package: Path) -> None:
    actor = process()
    actor.signal(signal.SIGTERM)  # not started yet, which is no error
    actor.start(["7"], str(package), {"EXTRA": "more"})
    first = lines_until(actor, "ready")
    assert first == ["words train --quiet --end-with-parent 7 more", "ready"]
    assert actor.poll() == Output(None, [])
    actor.signal(signal.SIGTERM)
    assert lines_until(actor, "error: stopped")
    wait_until(lambda: actor.poll().code == 1)
    actor.signal(signal.SIGKILL)  # ended already, which is none either


def test_a_process_that_does_not_end_is_killed_with_its_group(package: Path) -> None:
    actor = process()
    actor.start(["stubborn"], str(package), {"EXTRA": ""})
    lines_until(actor, "ready")
    actor.signal(signal.SIGTERM)
    actor.signal(signal.SIGKILL)
    assert actor.poll().code == -signal.SIGKILL


def test_standard_input_tells_the_command_of_the_actor_s_end(tmp_path: Path) -> None:
    (tmp_path / "clipn.py").write_text("import os, sys; os.read(0, 1); sys.exit(5)")
    actor = process()
    actor.start([], str(tmp_path), {})
    assert actor.poll().code is None
    actor._process.stdin.close()  # as the end of the actor's process does
    wait_until(lambda: actor.poll().code == 5)


def test_this_package_s_own_command_takes_the_words(tmp_path: Path) -> None:
    actor = process()
    actor.start(["not-a-seed"], str(tmp_path), {"PYTHONPATH": str(ROOT), "PATH": os.defpath})
    wait_until(lambda: actor._process.poll() is not None)
    output = actor.poll()
    assert output.code == 2
    assert any("Invalid value for 'seed'" in line for line in output.lines), sys.executable
