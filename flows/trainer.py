"""Training in processes of their own: one, or as many as torchrun starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from clipn.errors import ClipnError

PATIENCE_SECONDS = 90
"""How long training may take to end after it was asked to: a step, and a checkpoint."""


class Trainer:
    """Training under way.

    Args:
        process: `clipn train`, or the torchrun that started several of it; its standard error is read here.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._last: deque[str] = deque(maxlen=50)
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._relay, args=(process.stderr,), daemon=True)
        self._reader.start()

    def running(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """Wait for the end.

        Raises:
            ClipnError: training failed; with what it said.
        """
        code = self._process.wait()
        self._reader.join(timeout=5)
        if code:
            said = [line for line in self._last if line.startswith("error: ")]
            reason = said[0].removeprefix("error: ") if said else f"see the lines above (exit status {code})"
            raise ClipnError(f"training failed: {reason}")

    def stop(self) -> None:
        """Ask training to end, wait, and make it end if it does not."""
        if not self.running():
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _relay(self, stream: IO[str]) -> None:
        for line in stream:
            self._last.append(line.rstrip())
            sys.stderr.write(line)


@contextmanager
def started(arguments: Sequence[str], processes: int, cores: int) -> Iterator[Trainer]:
    """Start `clipn train` with `arguments`; whatever happens here, no process is left when the block ends.

    Args:
        arguments: of the command.
        processes: how many train together.
        cores: of this machine, shared among them.
    """
    command = [sys.executable, "-m", "clipn", "train", "--quiet", "--end-with-parent", *arguments]
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
    trainer = Trainer(process)
    try:
        yield trainer
    finally:
        trainer.stop()
        assert process.stdin is not None
        process.stdin.close()
