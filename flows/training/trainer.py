"""Training in processes of their own on this machine: one, or as many as torchrun starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

from clipn.errors import ClipnError
from clipn.utils.processes import end_child

PATIENCE_SECONDS = 90
"""How long training may take to end after SIGTERM: a step, and a checkpoint."""


class Running(Protocol):
    """Training under way, here or on a cluster.

    Attributes:
        device: where it computes.
        processes: how many train together.
    """

    device: str
    processes: int

    def running(self) -> bool: ...

    def check(self) -> None: ...


class Trainer:
    """Training under way on this machine.

    Args:
        process: `clipn train`, or the torchrun that started several of it; its standard error is read here.
        device, processes: what it was started with.
    """

    def __init__(self, process: subprocess.Popen[str], device: str, processes: int) -> None:
        self._process = process
        self.device, self.processes = device, processes
        self._last: deque[str] = deque(maxlen=50)
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._relay, args=(process.stderr,), daemon=True)
        self._reader.start()

    def running(self) -> bool:
        """Return whether training goes on."""
        return self._process.poll() is None

    def check(self) -> None:
        """Wait for the end.

        Raises:
            ClipnError: training failed; with its own message.
        """
        code = self._process.wait()
        self._reader.join(timeout=5)
        if code:
            raise failure(self._last, code)

    def stop(self) -> None:
        """Ask training to end, wait, and kill what does not end."""
        end_child(self._process, PATIENCE_SECONDS)

    def _relay(self, stream: IO[str]) -> None:
        for line in stream:
            self._last.append(line.rstrip())
            sys.stderr.write(line)


def failure(lines: Iterable[str], code: int) -> ClipnError:
    """Return the error of training that ended with an exit status, from the lines that it wrote."""
    errors = [line for line in lines if line.startswith("error: ")]
    reason = errors[0].removeprefix("error: ") if errors else f"see the lines above (exit status {code})"
    return ClipnError(f"training failed: {reason}")


@contextmanager
def started(arguments: Sequence[str], processes: int, cores: int, device: str) -> Iterator[Trainer]:
    """Start `clipn train` with `arguments`. All its processes have ended when the block ends.

    Args:
        arguments: of the command, without `--device`.
        processes: how many train together.
        cores: of this machine, shared among them.
        device: where they compute.
    """
    own = ["--quiet", "--end-with-parent", "--device", device]
    command = [sys.executable, "-m", "clipn", "train", *own, *arguments]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launcher, *command[1:]]
    # torchrun would give every process one thread; one process takes all of them by itself.
    threads = {} if processes == 1 else {"OMP_NUM_THREADS": str(max(1, cores // processes))}
    process = subprocess.Popen(
        command,
        # Its end tells every process that this one is gone, even if it was killed.
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C shall reach this process alone, which then asks training to stop, once.
        start_new_session=True,
        env={**os.environ, **threads},
    )
    trainer = Trainer(process, device, processes)
    try:
        yield trainer
    finally:
        trainer.stop()
        assert process.stdin is not None
        process.stdin.close()
