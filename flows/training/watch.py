"""Show a training run that goes on in another process: log lines, progress bar, DVCLive's record, TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect import get_run_logger
from prefect.exceptions import PrefectException

from clipn.errors import InvalidData
from clipn.training import step_log
from clipn.training.step_log import Step
from flows.runtime.progress import ProgressBar
from flows.training.record import Events, Record

POLL_SECONDS = 0.5
"""Between two reads of the log."""
LOG_SECONDS = 5.0
"""Between two lines, and between two updates of the progress bar."""
RETRY_SECONDS = 60.0
"""Until the progress bar is tried again when the Prefect server did not answer."""


@dataclass(frozen=True)
class Training:
    """What is watched, and where it is shown.

    Attributes:
        log: `steps.csv`, which the training process writes.
        steps, epochs: of the whole run.
        record: folder for DVCLive, replaced.
        events: folder for TensorBoard, replaced; written if the package `tensorboard` is installed.
    """

    log: Path
    steps: int
    epochs: int
    record: Path
    events: Path


class Watch:
    """Follows a training run. Make it before the training process starts: what the log holds until then is not shown.

    Nothing that goes wrong with showing ends the training. A record that could not be written along the
    way is written from the whole log when the training has ended.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._log: Any = get_run_logger()
        self._place = step_log.end(training.log)
        self._problem: OSError | InvalidData | None = None
        self._bar = ProgressBar(f"steps of {training.record.name}")
        self._bar_due = time.monotonic() + LOG_SECONDS
        self._lines = Lines(training, self._log.info)
        self._files = self._open()

    def until(self, done: Callable[[], bool]) -> None:
        """Show what the log gains until the training process is done, well or not.

        Args:
            done: whether the process has ended.

        Raises:
            InvalidData: the log is damaged; only after the end.
            OSError: the log cannot be read or the record cannot be written; only after the end.
        """
        try:
            ended = False
            while not ended:
                # Asked before the log is read: nothing is written after the end, so nothing is missed.
                ended = done()
                self._read(ended)
                if not ended:
                    time.sleep(POLL_SECONDS)
            if self._problem is not None:
                everything = step_log.read(self._training.log)
                self._close()
                self._files = self._open()
                self._feed(everything)
        finally:
            self._lines.close()
            self._close()

    def _read(self, ended: bool) -> None:
        if self._problem is not None:
            return
        try:
            piece = step_log.tail(self._training.log, self._place)
            if piece.anew:
                self._close()
                self._files = self._open()
                self._lines = Lines(self._training, self._log.info)
            self._place = piece.place
            if piece.steps:
                self._lines.add(piece.steps)
                self._feed(piece.steps)
            self._draw_bar(ended)
        except (OSError, InvalidData) as error:
            self._problem = error
            self._log.warning("Training goes on, but is not shown any more: %s", error)

    def _draw_bar(self, ended: bool) -> None:
        done = self._place.step + 1
        due = time.monotonic() >= self._bar_due or (ended and self._bar.drawn)
        if not (done and due):
            return
        wait = LOG_SECONDS
        try:
            self._bar(done, self._training.steps)
        except (httpx.HTTPError, PrefectException) as error:
            self._log.warning("The Prefect server did not take the progress (%s); it is tried again later", error)
            wait = RETRY_SECONDS
        self._bar_due = time.monotonic() + wait

    def _open(self) -> list[Record | Events]:
        record = Record(self._training.record, self._training.steps)
        events = Events.open(self._training.events)
        return [record, events] if events else [record]

    def _feed(self, new: Sequence[Step]) -> None:
        for file in self._files:
            file.add(new)

    def _close(self) -> None:
        while self._files:
            self._files.pop().close()


class Lines:
    """A line for people every few seconds, for every held-out check, and for the last step.

    Args:
        training: how long it is.
        log: takes a line.
    """

    def __init__(self, training: Training, log: Callable[[str], None]) -> None:
        self._training, self._log = training, log
        self._first: tuple[int, float] | None = None
        self._due = time.monotonic() + LOG_SECONDS
        self._pending: Step | None = None

    def add(self, new: Sequence[Step]) -> None:
        """Take further steps, at least one."""
        checks = [step for step in new if step.auroc_ctw is not None]
        # The first steps may be those before a resumed run's checkpoint, and their checks are old news.
        for step in checks[-1:] if self._first is None else checks:
            self._log(check_line(step))
        now = time.monotonic()
        self._first = self._first or (new[-1].step, now)
        self._pending = new[-1]
        if now >= self._due:
            self._due = now + LOG_SECONDS
            self.close()

    def close(self) -> None:
        """Log the last step, unless that was done."""
        if self._pending is None or self._first is None:
            return
        step, (first, start) = self._pending, self._first
        remaining = self._training.steps - 1 - step.step
        seconds = None
        if remaining and step.step > first:
            seconds = remaining * (time.monotonic() - start) / (step.step - first)
        self._log(step_line(step, self._training, seconds))
        self._pending = None


def step_line(step: Step, training: Training, remaining: float | None) -> str:
    """Return one step in words, with the remaining seconds where they can be told."""
    return (
        f"epoch {step.epoch + 1}/{training.epochs}, step {step.step + 1:,}/{training.steps:,}: "
        f"loss {step.loss:.4f} (yes {step.loss_yes:.4f}, no {step.loss_no:.4f}, tso {step.loss_tso:.4f}), "
        f"gradient {step.grad_norm:.3g}, lr {step.lr:.2e}, scale {step.logit_scale:.4g}, "
        f"{step.samples_per_second:,.0f} samples/s" + ("" if remaining is None else f", {duration(remaining)} left")
    )


def check_line(step: Step) -> str:
    """Return a result of the held-out check in words."""
    aurocs = ", ".join(
        f"{name} {100 * value:.2f} %"
        for name, value in (("CTW", step.auroc_ctw), ("ATD", step.auroc_atd))
        if value is not None
    )
    return f"held-out check after step {step.step + 1:,}: AUROC {aurocs}"


def duration(seconds: float) -> str:
    """Return a duration in words, such as "45 s", "3 min 20 s" or "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
