"""Progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from clipn.training.step_log import Step
from clipn.utils.progress import Progress


@contextmanager
def bar(what: str, *, sized: bool) -> Iterator[Progress]:
    """Show a bar where standard error is a terminal, else nothing.

    Args:
        what: stands before the bar.
        sized: the numbers are bytes.
    """
    count = DownloadColumn() if sized else MofNCompleteColumn()
    columns: Sequence[Any] = (TextColumn(what), BarColumn(), count, TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class TrainingBar:
    """A progress bar with the latest losses, on standard error."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: Step, steps: int) -> None:
        self._bar.start()  # not before: errors in the inputs are printed without a bar
        text = f"loss {step.loss:.4f}, {step.samples_per_second:,.0f} pairs/s"
        if step.auroc_atd is not None:
            self._bar.console.print(
                f"step {step.step + 1}: AUROC {step.auroc_ctw:.4f} (CTW), {step.auroc_atd:.4f} (ATD)"
            )
        self._bar.update(self._task, total=steps, completed=step.step + 1, description=text)
