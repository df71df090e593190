"""What is left out of the log of a flow run."""

from __future__ import annotations

import logging

import pytest
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.states import Failed


@flow(persist_result=False)
def hopeless() -> State[None]:
    """It says why."""
    return Failed(message="there is nothing to do")


@flow(persist_result=False)
def broken() -> None:
    """A defect."""
    raise ZeroDivisionError("a bug")


def test_a_failed_run_says_why_once_and_not_where_in_prefect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(FailedRun):
        hopeless()
    assert caplog.text.count("there is nothing to do") == 1
    assert "Traceback" not in caplog.text


def test_a_defect_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError):
        broken()
    assert "Traceback" in caplog.text
