"""How processes end: real ones, some of which do not want to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from clipn.utils import processes
from tests.waiting import wait_until

STUBBORN = "trap '' TERM; echo $$ > {0}.partial && mv {0}.partial {0}; while :; do sleep 0.1; done"


CHILD = """
import os, signal, subprocess, sys, time
from clipn.utils import processes
signal.signal(signal.SIGINT, signal.SIG_IGN)
show = "import os, signal, time; print(os.getpid(), signal.getsignal(signal.SIGINT), flush=True); time.sleep(99)"
subprocess.Popen([sys.executable, "-c", show], preexec_fn=processes.end_with_parent)
time.sleep(99)
"""
"""A parent that ignores interrupts, and a child that is to end with it; the child says its process number."""

COMMAND = """
import os, sys, time
try:
    print(os.getpid(), repr(sys.stdin.read()), flush=True)
    time.sleep(99)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(float(sys.argv[1]))
    print("done", flush=True)
"""
"""For a guard: takes some seconds to end after an interrupt."""


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


def _group(leader: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):  # it ended after it was listed
            if os.getpgid(process.pid) == leader and processes.alive(process):
                members.append(process)
    return members


@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_a_group_ends_although_its_leader_has_ended_and_a_member_does_not_want_to(
    tmp_path: Path, patience: float
) -> None:
    script = f"({STUBBORN.format(tmp_path / 'member')}) & while [ ! -e {tmp_path}/member ]; do sleep 0.02; done"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    leader.wait()
    assert _group(leader.pid)
    start = time.monotonic()
    processes.end_group(leader, patience)
    assert time.monotonic() - start >= patience
    wait_until(lambda: not _group(leader.pid))
    processes.end_group(leader, patience)  # nobody is left, which is no error


def test_a_group_that_ends_in_time_is_not_killed(tmp_path: Path) -> None:
    script = f"trap 'touch {tmp_path}/done; exit 3' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    wait_until((tmp_path / "ready").exists)
    processes.end_group(leader, 60)
    assert (tmp_path / "done").exists()
    assert leader.returncode == 3


def test_a_child_that_has_ended_is_only_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    wait_until(lambda: not processes.alive(psutil.Process(child.pid)))
    processes.end_child(child, 0)
    assert child.returncode == 3


@pytest.mark.skipif(sys.platform != "linux", reason="no other system lets a child end with its parent")
def test_a_child_ends_when_its_parent_is_killed_and_listens_to_interrupts() -> None:
    parent = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    number, handler = parent.stdout.readline().split(maxsplit=1)
    assert "default_int_handler" in handler
    child = psutil.Process(int(number))
    parent.kill()
    parent.wait()
    wait_until(lambda: not processes.alive(child))


def test_an_action_follows_the_end_of_standard_input() -> None:
    code = (
        "import os, time; from clipn.utils import processes as p; p.at_parents_end(lambda: os._exit(7)); time.sleep(99)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert child.stdin is not None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.stdin.close()
    assert child.wait(60) == 7


def test_an_action_follows_the_end_of_anything() -> None:
    ended, acted = threading.Event(), threading.Event()
    processes.at_parents_end(acted.set, ended.wait)
    assert not acted.wait(0.1)
    ended.set()
    assert acted.wait(10)


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_free_port_can_be_used(host: str) -> None:
    port = processes.free_port(host)
    with socket.socket() as listener:
        listener.bind((host, port))
        listener.listen()


def _guarded(folder: Path, command: list[str], patience: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        processes.guarded(command, patience),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -2 $$", 130)])
def test_a_guard_ends_as_its_command(tmp_path: Path, code: str, status: int) -> None:
    assert _guarded(tmp_path, ["sh", "-c", code], 9).wait(60) == status


@pytest.mark.parametrize(("needs", "patience", "last"), [(0.2, 60, "done\n"), (60, 0.2, "interrupted\n")])
def test_a_guard_whose_parent_is_gone_interrupts_its_command_and_kills_it_after_a_while(
    tmp_path: Path, needs: float, patience: float, last: str
) -> None:
    guard = _guarded(tmp_path, [sys.executable, "-c", COMMAND, str(needs)], patience)
    assert guard.stdin is not None
    assert guard.stdout is not None
    number, content = guard.stdout.readline().split()
    assert content == "''"
    guard.stdin.close()
    assert guard.stdout.read().endswith(last)
    assert guard.wait() == -signal.SIGKILL  # with the rest of its group
    wait_until(lambda: not psutil.pid_exists(int(number)) or not processes.alive(psutil.Process(int(number))))


def test_a_guard_depends_on_no_module_of_the_folder_where_it_runs(tmp_path: Path) -> None:
    for name in ("clipn", "psutil", "signal", "socket", "threading"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('another one')")
    guard = _guarded(tmp_path, [sys.executable, "-P", "-c", "print('ran')"], 9)
    assert guard.wait(60) == 0
    assert guard.stdout is not None
    assert guard.stdout.read() == "ran\n"
