"""Commands that end with their flow, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from flows.runtime import children
from tests.conftest import ROOT
from tests.waiting import wait_until

TREE = """
import os, signal, subprocess, sys, time
from pathlib import Path

# As DVC: waits for its stage, and leaves an interrupt to it.
stage = '''
import os, subprocess, sys, time
from pathlib import Path

trainer = "import os, time; os.read(0, 1); time.sleep(0.3); open('checkpoint', 'w').close()"
child = subprocess.Popen([sys.executable, "-c", trainer], stdin=subprocess.PIPE, start_new_session=True)
Path("pids").write_text(f"{os.getpid()} {child.pid}")
try:
    time.sleep(60)
except KeyboardInterrupt:
    Path("interrupted").touch()
'''
child = subprocess.Popen([sys.executable, "-c", stage])
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(child.wait())
"""
"""A command, its stage, and a trainer that leaves the session and takes a while to end."""

FLOW = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from flows.runtime import children
folder = Path.cwd()
children.run([sys.executable, "-c", sys.argv[2]], folder, children.environment(folder), print)
"""


def run(folder: Path, code: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    status = children.run([sys.executable, "-c", code], folder, children.environment(folder), lines.append)
    return status, lines


def test_lines_and_exit_status_come_back(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)") == (3, ["one", "two"])


def test_the_lines_of_flows_can_come_without_their_time(tmp_path: Path) -> None:
    code = (
        "from prefect.logging import get_logger as of, configuration as c; c.setup_logging(); of('this').warning('so')"
    )
    lines: list[str] = []
    environment = children.environment(tmp_path, children.UNDATED)
    assert children.run([sys.executable, "-c", code], tmp_path, environment, lines.append) == 0
    assert lines == ["WARNING | prefect.this - so"]


def test_a_signal_is_an_exit_status_as_in_a_shell(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; os.kill(os.getpid(), 9)") == (137, [])


def test_the_command_s_standard_input_is_empty_and_its_folder_the_workspace(tmp_path: Path) -> None:
    assert run(tmp_path, "import os, sys; print(repr(sys.stdin.read()), os.getcwd())") == (0, [f"'' {tmp_path}"])


def test_the_environment_speaks_of_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT__FLOW_RUN_ID", "GIT_DIR", "DVC_STAGE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("PREFECT_API_KEY", "kept")
    found = children.environment(tmp_path, {"EXTRA": "1"})
    assert not {"PREFECT__FLOW_RUN_ID", "GIT_DIR", "DVC_STAGE"} & found.keys()
    assert (found["PREFECT_API_KEY"], found["EXTRA"], found[children.MARK]) == ("kept", "1", str(tmp_path))
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_a_process_that_holds_the_output_open_is_not_waited_for_but_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    assert run(tmp_path, "import subprocess; subprocess.Popen(['sleep', '60']); print('done')") == (0, ["done"])
    assert time.monotonic() - start < 30
    wait_until(lambda: not children.working_in(tmp_path))


def test_an_error_while_lines_are_taken_ends_everything(tmp_path: Path) -> None:
    def broken(line: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        children.run(
            [sys.executable, "-c", "print('line'); import time; time.sleep(60)"],
            tmp_path,
            children.environment(tmp_path),
            broken,
        )
    assert not children.working_in(tmp_path)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_when_the_flow_is_gone_its_children_end_in_order(tmp_path: Path, end: signal.Signals) -> None:
    flow = subprocess.Popen([sys.executable, "-c", FLOW, str(ROOT), TREE], cwd=tmp_path)
    wait_until(lambda: (tmp_path / "pids").is_file() and (tmp_path / "pids").read_text())
    assert len(children.working_in(tmp_path)) == 4  # the guard, the command, the stage, the trainer
    flow.send_signal(end)
    flow.wait()
    children.settle(tmp_path, print, patience=20)
    assert (tmp_path / "interrupted").exists()  # the stage was interrupted, not killed
    assert (tmp_path / "checkpoint").exists()  # and the trainer was given time


def test_a_worker_that_ignores_interrupts_does_not_pass_that_on(tmp_path: Path) -> None:
    # As `prefect worker start … &` in a script.
    shell = f'trap \'\' INT; exec {sys.executable} -c "$FLOW" {ROOT} "$TREE"'
    flow = subprocess.Popen(["sh", "-c", shell], cwd=tmp_path, env={**os.environ, "FLOW": FLOW, "TREE": TREE})
    wait_until(lambda: (tmp_path / "pids").is_file() and (tmp_path / "pids").read_text())
    flow.kill()
    flow.wait()
    children.settle(tmp_path, print, patience=20)
    assert (tmp_path / "interrupted").exists()


def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); signal.pause()"
    environment = children.environment(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    threading.Thread(target=process.wait, daemon=True).start()  # nobody waits for an orphan either
    wait_until((tmp_path / "ready").exists)
    lines: list[str] = []
    children.settle(tmp_path, lines.append, patience=0.5)
    assert not psutil.pid_exists(process.pid)
    assert lines == [
        f"Waiting for processes in {tmp_path} to write what they have and end: {process.pid}",
        f"Killing what still works in {tmp_path}: {process.pid}",
    ]


def test_somebody_who_looks_around_in_the_workspace_is_left_alone(tmp_path: Path) -> None:
    shell = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        children.settle(tmp_path, print, patience=0)
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()
