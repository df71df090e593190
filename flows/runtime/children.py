"""Commands that never outlive their flow: lines as they come, an orderly end when the flow is cancelled or killed.

A command runs under the guard of `clipn.utils.processes`, so it is interrupted when the flow is gone, and stages
write their checkpoints. A process that is not in the guard's session, such as a trainer, ends by itself when the
process that started it is gone. To find such processes, all of them carry a mark in their environment.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from clipn.utils import processes

MARK = "CLIPN_RETRAIN"
"""Environment variable of every process that works in a workspace: the workspace's folder."""
PATIENCE_SECONDS = 110
"""How long a command may take to end after it was interrupted; a stage gives its trainer 90 for a checkpoint."""
_POLL_SECONDS = 0.2
_OWN = {"DVC_ROOT", "DVC_STAGE", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}
"""Variables that speak of this process's own repository and stage, not of the child's."""
UNDATED = {
    f"PREFECT_LOGGING_FORMATTERS_STANDARD_{kind}": f"%(levelname)-7s | {what} - %(message)s"
    for kind, what in (
        ("FORMAT", "%(name)s"),
        ("FLOW_RUN_FMT", "Flow run %(flow_run_name)r"),
        ("TASK_RUN_FMT", "Task run %(task_run_name)r"),
    )
}
"""Settings for Prefect in a command whose lines go into a log that dates them itself."""
_OWN_RUN = "PREFECT__"
"""The beginning of those that speak of its flow run."""


def environment(folder: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that works in `folder`: this process's own, this interpreter first, the mark.

    Args:
        folder: the workspace.
        settings: variables that come on top.
    """
    inherited = {
        name: value for name, value in os.environ.items() if name not in _OWN and not name.startswith(_OWN_RUN)
    }
    # The commands of stages say `python`, and a worker may have been started without activating anything.
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return {**inherited, "PATH": path, "PYTHONUNBUFFERED": "1", **(settings or {}), MARK: str(folder)}


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command in `folder` and return its exit status. The command has ended even if an exception leaves here.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: as from `environment`.
        on_line: takes each line that it prints, in this thread.
    """
    guard = subprocess.Popen(
        processes.guarded(command, PATIENCE_SECONDS),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert guard.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(guard.stdout, lines), daemon=True)
    reader.start()
    try:
        while guard.poll() is None:
            with suppress(queue.Empty):
                on_line(lines.get(timeout=_POLL_SECONDS))
        # A process outside of the session may hold the pipe open, so its end is not waited for.
        reader.join(timeout=1)
        while not lines.empty():
            on_line(lines.get())
        return guard.wait()
    finally:
        _stop(guard)


def working_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that were started to work in the workspace `folder` and still run."""
    workers = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended meanwhile, or is somebody else's
            if process.environ().get(MARK) == str(folder) and process.pid != os.getpid():
                workers.append(process)
    return workers


def settle(folder: Path, log: Callable[[str], None], patience: float = PATIENCE_SECONDS) -> None:
    """Wait until no process works in `folder` any more, and kill those that do not end.

    Args:
        folder: the workspace.
        log: takes a line for people where there is something to wait for.
        patience: seconds.
    """
    deadline = time.monotonic() + patience
    announced = False
    while workers := working_in(folder):
        names = ", ".join(str(process.pid) for process in workers)
        if time.monotonic() > deadline:
            log(f"Killing what still works in {folder}: {names}")
            processes.kill(workers)
            psutil.wait_procs(workers, timeout=10)  # until their parents have waited for them, too
            return
        if not announced:
            log(f"Waiting for processes in {folder} to write what they have and end: {names}")
            announced = True
        time.sleep(_POLL_SECONDS)


def _read(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line.rstrip())


def _stop(guard: subprocess.Popen[str]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()  # tells the guard to end the command
    with suppress(subprocess.TimeoutExpired):
        guard.wait(PATIENCE_SECONDS + 10)
    processes.kill_group(guard)
