"""Whether a stage finds the dvc command above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows.runtime.companion import client
from tests.conftest import ROOT


def test_a_stage_finds_the_dvc_command_above_it(tmp_path: Path) -> None:
    child = "from flows.runtime.companion import client; print(client.dvc_command())"
    script = tmp_path / "dvc"
    script.write_text(
        "import os, subprocess, sys\n"
        "print(os.getpid(), flush=True)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, script, "repro"], capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    owner, found = done.stdout.split()
    assert owner == found


def test_outside_of_dvc_there_is_none() -> None:
    assert client.dvc_command() is None


def test_what_dvc_runs_imports_next_to_nothing() -> None:
    child = "import sys, flows.__main__; print(sorted({'torch', 'prefect', 'numpy', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
