"""Run the pipeline in a workspace: its lines go to the run's log, its stages to a progress bar."""

from __future__ import annotations

import re
import sys
from collections import deque
from pathlib import Path
from uuid import UUID

import httpx
from prefect import get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

from clipn.errors import ClipnError
from flows.deployments.retrain.workspace import DVC, Log, Workspace
from flows.runtime import children, stage
from flows.runtime.progress import ProgressBar

COMMAND = (sys.executable, "-m", "flows.repro")
"""The command in the checkout; arguments for `dvc repro` follow."""
_STARTS = re.compile(r"Running stage '(.+)':")
_IS_DONE = re.compile(r"(?:Stage )?'(.+)' (?:didn't change|is cached)")
_DVC_FAILED = "failed to reproduce"
_ERROR = re.compile(r"error: ", re.IGNORECASE)


def run(workspace: Workspace, repository: Path | None) -> bool:
    """Bring every stage up to date, and return whether there is a DVC remote.

    Args:
        workspace: where.
        repository: the checkout whose cache and remotes are used, if it is on this machine.

    Raises:
        ClipnError: a stage failed.
    """
    log = get_run_logger().info
    remote = workspace.connect(repository)
    if not remote:
        log("The project has no DVC remote: data is neither pulled nor pushed")
    log("Bringing the outputs that the cache has")
    # They need no run cache and no network, and are not made again.
    workspace.run([*DVC, "checkout", "--quiet", "--force", "--allow-missing"], log)
    this = runtime.flow_run
    tag = f"retrain {this.id[:8]}"
    with get_client(sync_client=True) as client:
        api = str(client.api_url).rstrip("/")  # also of a temporary server: stages are seen where this flow is
        client.update_flow_run(UUID(this.id), tags=[*this.tags, tag])
    lines = Lines(workspace.pipeline().stages, log)
    command = [*COMMAND, *(["--pull"] if remote else [])]
    if workspace.run(command, lines, {**children.UNDATED, "PREFECT_API_URL": api, stage.TAG: tag}):
        raise ClipnError(
            f"the pipeline failed: {lines.reason()}\nFinished stages are kept; run again to go on. "
            f"Its files are in {workspace.folder}"
        )
    lines.finish()
    return remote


class Lines:
    """Takes what the pipeline prints.

    Args:
        stages: how many there are.
        log: takes each line.
    """

    def __init__(self, stages: int, log: Log) -> None:
        self._stages, self._log = stages, log
        self._done: set[str] = set()
        self._running: str | None = None
        self._last: deque[str] = deque(maxlen=40)
        self._bar: ProgressBar | None = ProgressBar("stages")

    def __call__(self, line: str) -> None:
        if not line:
            return
        self._log(line)
        self._last.append(line)
        starts, is_done = _STARTS.match(line), _IS_DONE.match(line)
        if starts or is_done:
            self._done |= {self._running} if self._running else set()
            self._running = starts[1] if starts else None
            self._done |= {is_done[1]} if is_done else set()
            self._draw(len(self._done))

    def finish(self) -> None:
        """Fill the progress bar: the pipeline ended well."""
        self._draw(self._stages)

    def reason(self) -> str:
        """Return why the pipeline failed: its own error messages, each once."""
        errors = [_ERROR.sub("", line, count=1) for line in self._last if _ERROR.match(line)]
        # What follows DVC's own message only says that there was one.
        errors = errors[: 1 + next((i for i, line in enumerate(errors) if line.startswith(_DVC_FAILED)), len(errors))]
        return "; ".join(dict.fromkeys(errors)) or "see the lines above"

    def _draw(self, done: int) -> None:
        if self._bar is None:
            return
        try:
            self._bar(min(done, self._stages), self._stages)
        except (httpx.HTTPError, PrefectException) as error:
            # What is shown must not end what is done.
            get_run_logger().warning(
                "The Prefect server did not take the progress (%s); it is not shown any more", error
            )
            self._bar = None
