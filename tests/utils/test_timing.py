from __future__ import annotations

import time

import pytest

from clipn.utils.timing import Phases


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
