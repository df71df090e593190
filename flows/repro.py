"""The main job: `dvc repro` with one Prefect server for all its stages, then the result.

python -m flows.repro [ARGUMENTS OF dvc repro …]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

from rich.console import Console
from rich.markdown import Markdown

from clipn import config, preflight
from clipn.errors import ClipnError
from flows import paths, server

DVC = [sys.executable, "-m", "dvc"]


def main() -> None:
    try:
        params = config.load()
        preflight.check(params)
        start = time.monotonic()
        if not sys.argv[1:] and _up_to_date():
            print("Nothing changed: every stage is up to date.")
        else:
            _reproduce(sys.argv[1:])
        print(f"Done in {time.monotonic() - start:.0f} s.\n")
    except ClipnError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; finished stages are kept, run it again to go on")
    _show()


def _up_to_date() -> bool:
    """Whether DVC has nothing to do; then no server need be started either."""
    done = subprocess.run([*DVC, "status", "--json"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and json.loads(done.stdout or "null") == {}


def _reproduce(arguments: list[str]) -> None:
    with ExitStack() as stack:
        url = server.address()
        if url is None:
            url = stack.enter_context(server.started(paths.WORK / "prefect-server.log"))
        print(f"Runs are visible at {url.removesuffix('/api')} while this goes on.", flush=True)
        done = subprocess.run([*DVC, "repro", *arguments], env={**os.environ, "PREFECT_API_URL": url}, check=False)
    if done.returncode:
        raise ClipnError("dvc repro failed; the message above says which stage. Finished stages are kept")


def _show() -> None:
    console = Console()
    if paths.RESULTS.is_file():
        table = paths.RESULTS.read_text(encoding="utf-8").split("\n## Published", maxsplit=1)[0]
        console.print(Markdown(table))
    console.print(f"\nReport: {paths.REPORT.resolve()}", soft_wrap=True)


if __name__ == "__main__":
    main()
