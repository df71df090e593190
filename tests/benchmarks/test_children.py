"""A child that is watched ends in time, with all that it started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import children

PARENT_OF_A_SLEEPER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(float(sys.argv[1]))
"""


def run(program: str, *arguments: str, seconds: float = 60) -> children.Ended:
    command = [sys.executable, "-c", program, *arguments]
    return children.run(command, seconds, "child", cwd=Path.cwd(), env=os.environ)


def test_lines_are_shown_with_the_name_and_the_last_ones_kept(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run("import sys; print('one'); print(); print('two', file=sys.stderr); sys.exit(3)")
    assert ended.status == 3
    assert set(ended.tail) == {"it printed nothing", "one", "two"}
    assert {"child | one", "child | two"} <= set(capsys.readouterr().out.splitlines())


def test_a_child_that_prints_nothing_has_a_tail() -> None:
    assert run("pass").tail == ("it printed nothing",)


@pytest.mark.parametrize(("sleep", "seconds", "status"), [("600", 2, None), ("0", 60, 0)])
def test_what_a_child_started_ends_with_it(sleep: str, seconds: float, status: int | None) -> None:
    ended = run(PARENT_OF_A_SLEEPER, sleep, seconds=seconds)
    assert ended.status == status
    assert ended.seconds < 30
    assert not psutil.pid_exists(int(ended.tail[-1])) or psutil.Process(int(ended.tail[-1])).status() == "zombie"


def test_a_child_that_does_not_want_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PATIENCE", 0.2)
    ignoring = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    ended = run(ignoring, seconds=1)
    assert ended.status is None
    assert ended.seconds < 30
