"""Processes that end together with everything they started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

POLL_SECONDS = 0.1


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended, and that its parent has not asked about yet, does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Ask processes to end; wait for them and for everything below them, and kill what is left after a while.

    What is below a process that has ended belongs to nobody, so it is looked for before.

    Args:
        processes: those that are asked, by SIGTERM.
        patience: seconds.
    """
    asked = list(processes)
    members = {member for process in asked for member in family(process)}
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + patience
    while any(map(alive, members)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    left = {late for member in filter(alive, members) for late in family(member)}
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    while any(map(alive, left)):
        time.sleep(POLL_SECONDS)


def end_child(child: subprocess.Popen[Any], patience: float) -> None:
    """The same for a process that this one started, whether or not it has ended by itself."""
    if child.poll() is None:
        end([psutil.Process(child.pid)], patience)
    child.wait()
