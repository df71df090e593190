"""How far a stage has come: lines in its log, and a bar in the Prefect UI."""

from __future__ import annotations

import logging
import time
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact


class ProgressBar:
    """A progress artifact in the Prefect UI, made at the first call.

    Args:
        what: what is counted, such as "images".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._artifact: Any = None

    @property
    def drawn(self) -> bool:
        """Whether the artifact has been made."""
        return self._artifact is not None

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done / max(total, 1)
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, description=self._what)
        else:
            update_progress_artifact(self._artifact, percent)


class StageProgress:
    """Progress on the terminal and, for work that takes a while, as an artifact in the Prefect UI.

    Args:
        what: what is counted, such as "images".
    """

    INTERVAL = 5.0
    """Seconds between updates; work that ends sooner makes none."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = self._last = time.monotonic()
        self._bar = ProgressBar(what)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self.INTERVAL:
            return
        self._last = now
        rate = done / (now - self._start)
        remaining = f", {rate:.0f}/s, {(total - done) / rate:.0f} s left" if rate else ""
        _logger().info("%d of %d %s%s", done, total, self._what, remaining)
        self._bar(done, total)


def _logger() -> Any:
    logger: logging.Logger | logging.LoggerAdapter = get_run_logger()
    return logger
