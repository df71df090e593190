"""A DVC stage as a Prefect flow: a readable run, a report of what was done, errors without tracebacks."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, cast

from prefect import Flow, flow, get_run_logger, tags
from prefect.client.schemas.objects import State
from prefect.states import Failed

from clipn import paths
from clipn.errors import ClipnError
from clipn.utils.files import write_json
from flows.runtime import remote
from flows.runtime.server import selection
from flows.stages import STAGES

forsaken = threading.Event()
"""Set when the server that belongs to the `dvc` command is gone. Prefect would try for a minute to tell it that an
interrupted stage has ended."""
TAG = "CLIPN_TAG"
"""Variable with a further tag of every stage's run."""
PACKAGES = ("torch", "open_clip_torch", "img2dataset", "pyarrow", "scikit-learn", "prefect")


def stage(name: str) -> Callable[[Callable[..., dict[str, Any]]], Flow[..., dict[str, Any]]]:
    """Make a function the flow of a DVC stage.

    The function returns its report: at least `counts` and, where phases were timed, `seconds`. It is
    written to `reports/stages/`. A `ClipnError` ends the run as Failed with its message; anything
    else is a defect and keeps its traceback.
    """

    def decorate(function: Callable[..., dict[str, Any]]) -> Flow[..., dict[str, Any]]:
        signature = inspect.signature(function)
        arguments = list(signature.parameters)
        run_name = "-".join([name, *(f"{{{argument}}}" for argument in arguments)])

        @flow(name=name, flow_run_name=run_name, description=inspect.getdoc(function), persist_result=False)
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                report = function(*args, **kwargs)
            except ClipnError as error:
                return Failed(message=str(error))
            except KeyboardInterrupt:
                _leave_if_forsaken()
                raise
            seconds = {**report.get("seconds", {}), "total": round(time.perf_counter() - start, 3)}
            label = "-".join([name, *map(str, signature.bind(*args, **kwargs).arguments.values())])
            write_json(
                paths.STAGES / f"{label}.json",
                {**report, "stage": label, "seconds": seconds, "versions": {p: version(p) for p in PACKAGES}},
            )
            get_run_logger().info("%s: %s in %.1f s", label, _summary(report), seconds["total"])
            return report

        return run

    return decorate


def command(name: str, words: Sequence[str], own_server: str | None = None, tag: str | None = None) -> None:
    """Run a stage as `python -m flows NAME [WORD …]` does; ends the process with status 1 when it fails.

    It runs here, or at the deployment that CLIPN_DEPLOYMENTS names for it.

    Args:
        name: of the stage.
        words: its arguments.
        own_server: address of the Prefect server that belongs to the `dvc` command; None finds another one.
        tag: of the flow run.
    """
    run: Flow[..., dict[str, Any]] = importlib.import_module(f"flows.stages.{name}").run
    parameters = inspect.signature(run.fn, eval_str=True).parameters
    try:
        values = {key: of.annotation(word) for (key, of), word in zip(parameters.items(), words, strict=True)}
    except ValueError:
        sys.exit(f"usage: python -m flows {name} {' '.join(parameters).upper()}".rstrip())
    marks = [mark for mark in (tag, os.environ.get(TAG)) if mark]
    try:
        place = remote.deployment(name, STAGES)
        if place:
            with _interruptible():
                return remote.run(name, words, place, marks)
        with selection.selected(own_server), tags(*marks), _interruptible():
            # With free parameters Prefect's own overloads do not see what return_state changes.
            state = cast(State[Any], run(**values, return_state=True))
    except ClipnError as error:
        sys.exit(f"error: {error}")
    if not state.is_completed():
        sys.exit(f"error: {name}: {state.message}")


def _leave_if_forsaken() -> None:
    """End at once if the server is gone. A function of its own: the flow is pickled for Ray, and an event cannot be."""
    if forsaken.is_set():
        os._exit(128 + signal.SIGINT)


@contextmanager
def _interruptible() -> Iterator[None]:
    """End with the usual status and no traceback after Ctrl-C; Prefect has marked the run as Crashed."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _summary(report: dict[str, Any]) -> str:
    counts = report.get("counts", {})
    parts = [f"{value} {key}" for key, value in counts.items() if not isinstance(value, dict)]
    return ", ".join(parts) or "done"
