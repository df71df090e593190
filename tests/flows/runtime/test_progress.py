"""Lines in a stage's log and a bar in the Prefect UI, on a real server."""

from __future__ import annotations

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows.runtime import progress
from flows.runtime.progress import ProgressBar, StageProgress


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def bars(what: str) -> list[object]:
    with get_client(sync_client=True) as client:
        return [artifact.data for artifact in client.read_artifacts() if artifact.description == what]


def test_a_bar_is_made_at_the_first_call_and_moved_by_the_next_ones() -> None:
    @flow(name="bar", persist_result=False)
    def run() -> tuple[bool, bool]:
        bar = ProgressBar("bottles")
        before = bar.drawn
        for done in (1, 3):
            bar(done, 4)
        ProgressBar("nothing at all")(0, 0)
        return before, bar.drawn

    assert run() == (False, True)
    assert bars("bottles") == [75.0]
    assert bars("nothing at all") == [0.0]


def test_work_that_ends_soon_shows_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="soon", persist_result=False)
    def run() -> None:
        shown = StageProgress("apples")
        for done in range(5):
            clock.now += 0.9
            shown(done, 5)

    run()
    assert bars("apples") == []
    assert "apples" not in caplog.text


def test_longer_work_shows_its_rate_and_the_seconds_that_remain(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    @flow(name="longer", persist_result=False)
    def run() -> None:
        shown = StageProgress("pears")
        for done in (0, 20, 30):
            clock.now += 5
            shown(done, 40)
        shown(39, 40)  # too soon after the last one

    run()
    lines = [record.message for record in caplog.records if "pears" in record.message]
    assert lines == ["0 of 40 pears", "20 of 40 pears, 2/s, 10 s left", "30 of 40 pears, 2/s, 5 s left"]
    assert bars("pears") == [75.0]
