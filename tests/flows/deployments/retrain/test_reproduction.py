"""What the pipeline prints as progress and as a reason; without a pipeline."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from flows.deployments.retrain import reproduction
from flows.deployments.retrain.reproduction import Lines


class Bar:
    """Plays the progress bar."""

    def __init__(self, what: str) -> None:
        self.values: list[tuple[int, int]] = []
        self.broken = False

    def __call__(self, done: int, total: int) -> None:
        if self.broken:
            raise httpx.ConnectError("refused")
        self.values.append((done, total))


class Log:
    """Plays the flow run's logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *values: object) -> None:
        self.lines.append(text % values)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(reproduction, "ProgressBar", Bar)
    monkeypatch.setattr(reproduction, "get_run_logger", lambda: log)
    return log


def lines_of(log: Log, *text: str, stages: int = 4) -> Any:
    lines = Lines(stages, log.lines.append)
    for line in text:
        lines(line)
    return lines


def test_stages_that_ran_or_did_not_have_to_are_counted_once(log: Log) -> None:
    lines = lines_of(
        log,
        "Stage 'data' didn't change, skipping",
        "",
        "Running stage 'train@0':",
        "> python stage.py train 0",
        "Running stage 'train@1':",
        "Stage 'train@2' is cached - skipping run, checking out outputs",
    )
    assert lines._bar.values == [(1, 4), (1, 4), (2, 4), (4, 4)]
    lines.finish()
    assert lines._bar.values[-1] == (4, 4)
    assert "" not in log.lines
    assert len(log.lines) == 5


def test_more_stages_than_expected_do_not_overflow_the_bar(log: Log) -> None:
    assert lines_of(log, "'a' didn't change", "'b' didn't change", stages=1)._bar.values == [(1, 1), (1, 1)]


def test_the_reason_is_what_came_first_and_not_its_echoes(log: Log) -> None:
    lines = lines_of(
        log,
        "error: train: no pairs; run 'dvc repro features'",
        "ERROR: failed to reproduce 'train@0': failed to run: python stage.py train 0, exited with 1",
        "error: dvc repro failed; the message above says why",
    )
    assert lines.reason() == (
        "train: no pairs; run 'dvc repro features'; "
        "failed to reproduce 'train@0': failed to run: python stage.py train 0, exited with 1"
    )
    assert lines_of(log, "Killed").reason() == "see the lines above"


def test_a_server_that_does_not_take_the_progress_ends_nothing(log: Log) -> None:
    lines = lines_of(log)
    lines._bar.broken = True
    lines("Running stage 'data':")
    lines("Running stage 'train':")
    (warning,) = [line for line in log.lines if "did not take the progress" in line]
    assert "refused" in warning
