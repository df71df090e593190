"""The server of a dvc command: found by its stages, gone with its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import server

ROOT = Path(__file__).parent.parent.parent


def test_a_stage_finds_the_dvc_command_above_it(tmp_path: Path) -> None:
    child = "from flows import server; process = server._dvc_process(); print(process and process.pid)"
    script = tmp_path / "dvc"
    script.write_text(
        "import os, subprocess, sys\n"
        "print(os.getpid(), flush=True)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, script, "repro"], capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    owner, found = done.stdout.split()
    assert owner == found


def test_outside_of_dvc_there_is_no_owner() -> None:
    assert server._dvc_process() is None


def test_the_server_ends_with_its_owner(tmp_path: Path) -> None:
    port = server._free_port()
    url = server._url(port)
    assert not server.answers(url)
    owner = subprocess.Popen(["sleep", "100"])
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_API_URL", None)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "flows.server", str(owner.pid), str(port)],
        env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: server.answers(url))
        family = psutil.Process(keeper.pid).children(recursive=True)
        assert family
        owner.kill()
        owner.wait()
        wait_until(lambda: keeper.poll() is not None)
        assert not server.answers(url)
        assert not any(process.is_running() for process in family)
    finally:
        owner.kill()
        keeper.kill()


def wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited 60 s in vain")
        time.sleep(0.2)
