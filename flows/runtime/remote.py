"""Stages that run on another machine: a Prefect worker there shares the project's folder with this one.

CLIPN_DEPLOYMENTS says which, as in "train=stage/gpu": the stage `train` by the deployment `stage/gpu`, whose
worker runs where the GPUs are. DVC and everything else stay here. Each side touches a file as long as it runs. So
each notices when the other is gone, and goes on if only the server cannot be reached.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling, Failed

from clipn.errors import ClipnError, InvalidParams
from clipn.paths import WORK
from clipn.utils.files import write_text
from flows.runtime import children
from flows.runtime.server import selection

VARIABLE = "CLIPN_DEPLOYMENTS"
REQUESTS = WORK / "elsewhere"
"""One file a stage, touched as long as somebody waits for it; beside it the worker's file, while the stage runs."""
POLL_SECONDS = 1.0
TOUCH_SECONDS = 5.0
GONE_SECONDS = 60.0
"""A side whose file stays untouched for so long counts as gone; shared storage may show a change late."""
ASK_SETTINGS = {PREFECT_API_REQUEST_TIMEOUT: 15.0, PREFECT_CLIENT_MAX_RETRIES: 1}
"""Settings of the side that waits: it repeats its requests, and an interrupt shall not take minutes."""
END_SECONDS = 150.0
"""How long a cancelled stage may take to write what it has."""
LOGS_AT_ONCE = 200


def deployment(stage: str, stages: Sequence[str]) -> str | None:
    """Return the deployment that runs a stage; None for this machine.

    Args:
        stage: its name.
        stages: the names that CLIPN_DEPLOYMENTS may hold.

    Raises:
        InvalidParams: CLIPN_DEPLOYMENTS is no list of STAGE=FLOW/DEPLOYMENT, or names a stage that does not exist.
    """
    places = {}
    for word in os.environ.get(VARIABLE, "").split():
        name, equals, place = word.partition("=")
        if not equals or place.count("/") != 1 or name not in stages:
            raise InvalidParams(
                f"{VARIABLE}: {word!r} is not STAGE=FLOW/DEPLOYMENT, as train=stage/gpu; "
                f"a stage is one of {', '.join(stages)}"
            )
        places[name] = place
    return places.get(stage)


def run(name: str, words: Sequence[str], place: str, tags: Sequence[str] = ()) -> None:
    """Have a deployment run a stage in this folder, wait for its end and print its log.

    Args:
        name: of the stage.
        words: its arguments.
        place: the deployment, as FLOW/DEPLOYMENT.
        tags: of the flow run.

    Raises:
        ClipnError: there is no such deployment or no server that workers know; or the stage failed.
    """
    if selection.existing() is None:
        raise ClipnError(
            f"{VARIABLE} sends {name} to {place}, but workers need a Prefect server that stays: "
            "start one with make ui, or name yours with PREFECT_API_URL"
        )
    request = (REQUESTS / uuid.uuid4().hex).absolute()
    parameters = {"name": name, "words": list(words), "folder": str(Path.cwd()), "request": str(request)}
    with selection.selected(), temporary_settings(ASK_SETTINGS), get_client(sync_client=True) as client:
        try:
            target = client.read_deployment_by_name(place)
        except ObjectNotFound as error:
            raise ClipnError(f"{VARIABLE}: there is no deployment {place}; see docs/operating.md") from error
        write_text(request, str(os.getpid()))
        try:
            with _touching(request), _interruptible():
                flow_run = client.create_flow_run_from_deployment(
                    target.id, parameters=parameters, name="-".join([name, *words, "elsewhere"]), tags=tags
                )
                print(
                    f"{name} runs at {place}, as soon as a worker of pool {target.work_pool_name} is free", flush=True
                )
                ended = _follow(client, flow_run, request)
        finally:
            _answer(request).unlink(missing_ok=True)  # of a worker that is gone
    if ended.state is None or not ended.state.is_completed():
        reason = ended.state.message if ended.state else "its state is not known"
        raise ClipnError(f"{name} at {place} ended as {ended.state_name}: {reason}")


@flow(name="stage", flow_run_name="{name}-elsewhere", persist_result=False)
def serve(name: str, words: list[str], folder: str, request: str) -> Any:
    """Run a stage for another machine, in the project's folder that both share.

    Args:
        name: of the stage.
        words: its arguments.
        folder: of the project.
        request: a file that the other machine touches as long as it waits.
    """
    token, project = Path(request), Path(folder)
    if not token.is_file():
        return Failed(
            message=f"this worker, in {Path.cwd()}, does not see {token}: the project's folder has to be on storage "
            "that all machines share, under the same path"
        )
    # Without the variable, so that this machine does not pass the stage on.
    environment = children.environment(project, {**children.UNDATED, VARIABLE: ""})
    log = get_run_logger()
    reason = "the log above says more"

    def relay(line: str) -> None:
        nonlocal reason
        log.info("%s", line)
        if line.startswith("error: "):
            reason = line.removeprefix("error: ")

    with _touching(_answer(token)), _ending_with(token):
        code = children.run([sys.executable, "-m", "flows", name, *words], project, environment, relay)
    return Failed(message=f"status {code}: {reason}") if code else None


def _follow(client: SyncPrefectClient, flow_run: FlowRun, request: Path) -> FlowRun:
    """Print the run's log until it has ended; if this process is interrupted, the run is cancelled."""
    shown, worker, doubted = 0, _Sign(_answer(request)), False
    try:
        while True:
            gone = worker.gone()
            try:
                current = client.read_flow_run(flow_run.id)
                shown += _print_log(client, flow_run, shown)
            except (httpx.HTTPError, PrefectException) as error:
                print(f"The Prefect server does not answer ({error}); trying again", flush=True)
            else:
                # The server may not have heard of the run because it was away itself. The run's end corrects it.
                silent = current.state is not None and (current.state.message or "").startswith(selection.SILENT)
                if silent and not gone and not doubted:
                    print("The server has not heard of the stage for a while, but it goes on", flush=True)
                doubted = silent and not gone
                if current.state is not None and current.state.is_final() and not doubted:
                    _print_log(client, flow_run, shown)
                    return current
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        try:
            _cancel(client, flow_run)
        except (httpx.HTTPError, PrefectException) as error:
            print(f"The Prefect server does not answer ({error}); the stage ends in a minute by itself", flush=True)
        raise


def _print_log(client: SyncPrefectClient, flow_run: FlowRun, offset: int) -> int:
    """Print what the log has beyond `offset` lines, and return their number."""
    chosen = LogFilter.model_validate({"flow_run_id": {"any_": [flow_run.id]}})
    new = client.read_logs(chosen, limit=LOGS_AT_ONCE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
    for line in new:
        print(f"{line.timestamp.astimezone().time().isoformat('milliseconds')} | {line.message}", flush=True)
    return len(new)


def _cancel(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    print("Waiting for the stage on the other machine to write what it has and end", flush=True)
    client.set_flow_run_state(flow_run.id, Cancelling())
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        state = client.read_flow_run(flow_run.id).state
        if state is not None and state.is_final():
            return
        time.sleep(POLL_SECONDS)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM act as Ctrl-C does, so that the run on the other machine is cancelled."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _answer(request: Path) -> Path:
    """Return the file that the worker touches."""
    return request.with_name(f"{request.name}.runs")


@contextmanager
def _touching(file: Path) -> Iterator[None]:
    """Touch a file as long as the block lasts, whatever that waits for; then remove it."""
    ended = threading.Event()

    def touch() -> None:
        while True:
            with suppress(OSError):  # shared storage is away, too
                file.touch()
            if ended.wait(TOUCH_SECONDS):
                return

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        file.unlink(missing_ok=True)


@contextmanager
def _ending_with(token: Path) -> Iterator[None]:
    """Interrupt this process when the machine that waits for the stage is gone."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(token, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()


def _watch(token: Path, ended: threading.Event) -> None:
    sign = _Sign(token)
    while not ended.wait(POLL_SECONDS):
        if sign.gone():
            os.kill(os.getpid(), signal.SIGINT)
            return


class _Sign:
    """Tells by a file that the other side touches whether that side still runs. `gone` has to be called regularly.

    Args:
        file: that it touches.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: int | None = None
        self._changed = time.monotonic()

    def gone(self) -> bool:
        """Return whether the file has not changed for `GONE_SECONDS`."""
        try:
            stamp = self._file.stat().st_mtime_ns
        except OSError:
            stamp = None
        # The clocks of two machines differ, so it is only seen whether the stamp changes.
        if stamp is not None and stamp != self._seen:
            self._seen, self._changed = stamp, time.monotonic()
        return time.monotonic() - self._changed > GONE_SECONDS
