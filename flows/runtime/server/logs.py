"""Prefect's log of runs, without the lines that only repeat an error with Prefect's own traceback."""

from __future__ import annotations

import logging

ENGINES = ("prefect.flow_runs", "prefect.engine")


def keep_to_the_point() -> None:
    """Leave out lines that help nobody. Call this before a flow runs."""
    for name in ENGINES:
        logging.getLogger(name).addFilter(_is_news)
    # Prefect warns of each event that is still on its way when a run ends, and then waits until it has arrived.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a line is news. A run that has Failed logged why; the engine repeats that with a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "FailedRun"
