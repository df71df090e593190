"""Facts of the machine come from the environment, and wrong ones are named."""

from __future__ import annotations

import os

import pytest

from clipn.errors import InvalidParams
from flows.runtime import machine


def test_workers_are_the_usable_cores_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPN_WORKERS", raising=False)
    assert machine.workers() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("CLIPN_WORKERS", "3")
    assert machine.workers() == 3


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_count_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CLIPN_DOWNLOAD_THREADS", value)
    with pytest.raises(InvalidParams, match=f"CLIPN_DOWNLOAD_THREADS={value} has to be a whole number"):
        machine.download_threads()


def test_the_device_that_is_named_has_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPN_DEVICE", "cpu")
    assert machine.device() == "cpu"
    monkeypatch.setenv("CLIPN_DEVICE", "toaster")
    with pytest.raises(InvalidParams, match="CLIPN_DEVICE=toaster cannot be used"):
        machine.device()
