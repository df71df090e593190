"""The main job: check every input, `dvc repro`, show the result.

python -m flows.repro [ARGUMENTS OF dvc repro …]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from rich.console import Console

from clipn import paths
from clipn.config import Params
from clipn.errors import ClipnError
from clipn.project import preflight
from clipn.project.params import read_params
from clipn.report.render import terminal
from clipn.utils.files import read_json

LOG_WIDTH = 130
"""Columns of the table in a log, where there is no terminal that could be narrower."""

DVC = [sys.executable, "-m", "dvc"]


def main() -> None:
    """Run the command."""
    start = time.monotonic()
    try:
        params = read_params()
        preflight.check(params)
        if not sys.argv[1:] and _up_to_date():
            print("Nothing changed: every stage is up to date.")
        elif _run([*DVC, "repro", *sys.argv[1:]]):
            raise ClipnError("dvc repro failed; the message above says why. Finished stages are kept")
    except ClipnError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; finished stages are kept, run it again to go on")
    _show(params)
    print(f"Done in {time.monotonic() - start:.0f} s.")


def _run(command: list[str]) -> int:
    """Run a command and return its exit status. An interrupt reaches it too, and it gets the time to end in order."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _up_to_date() -> bool:
    """Return whether DVC has nothing to do; `dvc repro` takes longer to find that out."""
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and json.loads(done.stdout or "null") == {}


def _show(params: Params) -> None:
    """Print the measured results and where the rest of them lies."""
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    metrics = read_json(paths.SUMMARY)
    for name in params.evaluate.benchmarks:
        console.print(terminal.results(name, params.benchmarks[name], params.evaluate.methods, metrics[name]))
    console.print(f"Every repeat: {paths.RESULTS}\nReport: {paths.REPORT.resolve()}", soft_wrap=True)


if __name__ == "__main__":
    main()
