"""Flow `bring-up-to-date`: some stages through DVC, so that its record of what was made stays true."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from clipn.errors import ClipnError
from flows.runtime import children
from flows.runtime.server import selection

_ERROR = "ERROR: "
REPRO = (sys.executable, "-m", "dvc", "repro")


class ReproFailed(ClipnError):
    """DVC could not bring a stage up to date."""


def _run_name() -> str:
    return f"dvc repro {' '.join(runtime.flow_run.parameters['targets'])}"


@flow(name="bring-up-to-date", flow_run_name=_run_name, persist_result=False)
def repro_targets(targets: list[str], force: bool = False) -> State[None]:
    """Bring stages of this folder up to date, and what they depend on. Stages that are up to date do not run.

    Args:
        targets: Stages of dvc.yaml, such as download or train@0.
        force: Run the stages even if nothing changed.
    """
    try:
        _repro([*(["--force"] if force else []), "--", *targets])
    except ClipnError as error:
        return Failed(message=str(error))
    return Completed(message=f"Up to date: {', '.join(targets)}")


def _repro(arguments: list[str]) -> None:
    folder, settings = Path.cwd(), dict(children.UNDATED)
    if api := selection.existing():
        settings["PREFECT_API_URL"] = api
    environment = children.environment(folder, settings)
    lines: deque[str] = deque(maxlen=40)

    def relay(line: str) -> None:
        if line:
            get_run_logger().info(line)
            lines.append(line)

    if children.run([*REPRO, *arguments], folder, environment, relay):
        errors = [line[len(_ERROR) :] for line in lines if line.upper().startswith(_ERROR)]
        reason = "\n".join(dict.fromkeys(errors)) or "see the lines above"
        raise ReproFailed(f"dvc repro failed: {reason}\nFinished stages are kept; run again to go on")
