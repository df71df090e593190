"""Phases add up, and nobody has to show anything."""

from __future__ import annotations

import threading
import time

import pytest

from clipn.utils.progress import Phases, silent


def test_visits_of_a_phase_add_up() -> None:
    phases = Phases()
    for _ in range(2):
        with phases("sleep"):
            time.sleep(0.02)
    with pytest.raises(KeyError), phases("broken"):
        raise KeyError
    seconds = phases.seconds()
    assert list(seconds) == ["sleep", "broken"]
    assert seconds["sleep"] >= 0.04


def test_phases_of_several_threads_add_up() -> None:
    phases = Phases()

    def work() -> None:
        with phases("sleep"):
            time.sleep(0.05)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert phases.seconds()["sleep"] >= 0.15


def test_seconds_that_were_measured_elsewhere_are_added() -> None:
    phases = Phases()
    for seconds in (1.5, 0.25):
        phases.add("decode", seconds)
    assert phases.seconds() == {"decode": 1.75}


def test_nothing_is_shown_to_those_who_do_not_want_to_know(capsys: pytest.CaptureFixture[str]) -> None:
    silent(1, 2)
    assert capsys.readouterr() == ("", "")
