"""A child process that is watched: its lines are shown as they come, and it and all it started end in time."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipn.utils import processes

PATIENCE = 3.0
"""Seconds from the request to end to the kill."""

TAIL = 20


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        status: its exit status; None if it ran out of time.
        seconds: that it ran.
        tail: the last lines that it printed and that are not empty, without spaces around them; at least one.
    """

    status: int | None
    seconds: float
    tail: tuple[str, ...]


def run(command: Sequence[str], seconds: float, name: str, *, cwd: Path, env: Mapping[str, str]) -> Ended:
    """Run a command in a process group of its own, show its output line by line, and leave no process of it behind.

    Args:
        command: a program and its arguments; its standard input is empty.
        seconds: after which the group is asked to end, and killed a little later.
        name: shown before each line.
        cwd: the folder that it runs in.
        env: its environment.
    """
    start = time.monotonic()
    tail = deque(["it printed nothing"], maxlen=TAIL)
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", cwd=cwd, env=dict(env), start_new_session=True, preexec_fn=processes.end_with_parent,
    )  # fmt: skip
    assert child.stdout is not None

    def show() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            print(f"{name} | {line.rstrip()}", flush=True)
            if line.strip():
                tail.append(line.strip())

    reader = threading.Thread(target=show, daemon=True)
    reader.start()
    status = None
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if status is None:
            processes.end_group(child, PATIENCE)
        processes.kill_group(child)  # what it started and left behind
        reader.join(PATIENCE)
    return Ended(status, time.monotonic() - start, tuple(tail))
