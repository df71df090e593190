"""Ending processes with what they started: real ones, some of which do not want to."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from clipn.utils import processes
from tests.waiting import wait_until

STUBBORN = "trap '' TERM; echo $$ > {0}.partial && mv {0}.partial {0}; while :; do sleep 0.1; done"


def _pid(file: Path) -> psutil.Process:
    wait_until(file.is_file, 10, f"{file} to be written")
    return psutil.Process(int(file.read_text()))


def test_a_process_that_nobody_asked_about_has_ended() -> None:
    child = subprocess.Popen(["true"])
    process = psutil.Process(child.pid)
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert not processes.alive(process)
    child.wait()
    assert not processes.alive(process)
    assert processes.alive(psutil.Process())


def test_what_outlives_its_parent_is_waited_for(tmp_path: Path) -> None:
    slow = f"trap 'sleep 1; touch {tmp_path}/done; exit' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    # The parent ends at once and passes the signal on.
    parent = subprocess.Popen(["sh", "-c", f"(exec sh -c \"{slow}\") & trap 'kill $!; exit' TERM; wait"])
    try:
        wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().endswith("\n"))
        below = _pid(tmp_path / "pid")
        processes.end([psutil.Process(parent.pid)], 30)
        assert (tmp_path / "done").is_file()
        assert not processes.alive(below)
    finally:
        parent.kill()
        parent.wait()


def test_what_does_not_end_is_killed_with_all_below_it(tmp_path: Path) -> None:
    inner = STUBBORN.format(tmp_path / "inner")
    outer = subprocess.Popen(["sh", "-c", f"({inner}) & " + STUBBORN.format(tmp_path / "outer")])
    try:
        _pid(tmp_path / "inner"), _pid(tmp_path / "outer")
        members = processes.family(psutil.Process(outer.pid))
        assert len(members) >= 2
        start = time.monotonic()
        processes.end([psutil.Process(outer.pid)], 0.5)
        assert time.monotonic() - start >= 0.5
        assert not any(map(processes.alive, members))
    finally:
        outer.kill()
        outer.wait()


@pytest.mark.parametrize("patience", [0.0, 5.0])
def test_nothing_to_end_is_no_error(patience: float) -> None:
    child = subprocess.Popen(["true"])
    gone = psutil.Process(child.pid)
    child.wait()
    processes.end([gone], patience)
    processes.end([], patience)
    assert processes.family(gone) == []
