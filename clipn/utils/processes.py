"""Child processes: how they end, with whom, and in what time.

A child can end with its parent in three ways, since each kind of child allows another one:

- one that runs our code reads the standard input that nobody writes to (`at_parents_end`);
- another program in Python or not is started by `subprocess` with `preexec_fn=end_with_parent` (Linux alone);
- a whole command with all that it starts runs under a guard (`guarded`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import psutil

POLL_SECONDS = 0.1
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""


def alive(process: psutil.Process) -> bool:
    """Return whether a process runs. One that has ended, and that its parent has not waited for yet, does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all its descendants; nothing if it is gone."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes and wait until they have ended."""
    victims = list(processes)
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    while any(map(alive, victims)):
        time.sleep(POLL_SECONDS)


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Ask processes to end by SIGTERM, wait for them and all their descendants, and kill the rest.

    Descendants of a process that has ended cannot be found any more, so they are listed before.

    Args:
        processes: those that are asked.
        patience: seconds from the request to the kill.
    """
    heads = list(processes)
    members = {member for process in heads for member in family(process)}
    for process in heads:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + patience
    while any(map(alive, members)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    kill({late for member in filter(alive, members) for late in family(member)})


def end_child(child: subprocess.Popen[Any], patience: float) -> None:
    """End a child of this process as `end` does, unless it has ended already, and wait for it.

    Args:
        child: it alone gets the signal.
        patience: seconds from the request to the kill.
    """
    if child.poll() is None:
        end([psutil.Process(child.pid)], patience)
    child.wait()


def end_group(leader: subprocess.Popen[Any], patience: float) -> None:
    """Send SIGTERM to all of a child's process group, wait until the group is empty, and kill the rest.

    Members that have lost their parent are reached too, and so is a group whose leader has ended.

    Args:
        leader: a child that was started with `start_new_session=True`.
        patience: seconds from the request to the kill; 0 kills at once.
    """
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(leader.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            leader.poll()  # until it is waited for, it counts as a member
            os.killpg(leader.pid, 0)
            time.sleep(POLL_SECONDS / 5)
    kill_group(leader)


def kill_group(leader: subprocess.Popen[Any]) -> None:
    """Kill what is left of a child's process group, and wait for the child."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def end_with_parent() -> None:
    """Let a new process end when its parent does, even by `kill -9`; pass it to `subprocess` as `preexec_fn`.

    The process gets SIGTERM. It also listens to SIGINT again, which commands in the background of a script ignore.
    On other systems than Linux only that happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def input_ends() -> None:
    """Wait until standard input closes: a pipe from the parent that nobody writes to closes with the parent."""
    os.read(0, 1)


def at_parents_end(action: Callable[[], None], parent_ends: Callable[[], object] = input_ends) -> None:
    """Call `action` in a thread of its own once the parent is gone, `kill -9` included.

    Args:
        action: ends this process.
        parent_ends: returns when the parent is gone.
    """

    def wait() -> None:
        parent_ends()
        action()

    threading.Thread(target=wait, daemon=True).start()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this machine on which nobody listens now.

    Args:
        host: the address that has to be free; "" for all addresses.
    """
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def guarded(command: Sequence[str], patience: float) -> list[str]:
    """Return a command line that runs `command` under a guard and ends with its exit status, as a shell gives it.

    It has to be started with `start_new_session=True` and `stdin=subprocess.PIPE`. When that pipe closes, the guard
    interrupts all of the session as Ctrl-C would, and kills what is left of it once the command has ended.

    Args:
        command: a program and its arguments; its standard input is empty.
        patience: seconds from the interrupt to the kill.
    """
    # By its path, so that the guard depends neither on the folder where it runs, which may hold another version of
    # this package, nor on PYTHONPATH. -P: the modules beside this file are not to be taken for those of other packages.
    return [sys.executable, "-P", __file__, str(patience), *command]


def _guard(command: Sequence[str], patience: float) -> int:
    # Signals are for the command. Handlers, unlike "ignore", are not passed on to it; and a process that was
    # started in the background of a shell would otherwise pass on that it ignores interrupts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    orphaned = threading.Event()

    def interrupt() -> None:
        orphaned.set()
        os.killpg(0, signal.SIGINT)
        deadline = time.monotonic() + patience
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        os.killpg(0, signal.SIGKILL)

    at_parents_end(interrupt)
    code = child.wait()
    if orphaned.is_set():
        os.killpg(0, signal.SIGKILL)  # whatever the command left behind, and this process
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[2:], float(sys.argv[1])))
