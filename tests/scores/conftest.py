"""A probe without its training, or with little of it."""

from __future__ import annotations

import pytest

from clipn.scores import linear_probe, probe
from tests.scores.id_images import PROBE


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MIN_STEPS", 1)


@pytest.fixture
def given_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "probe_of", lambda known: PROBE)
