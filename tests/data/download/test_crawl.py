from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from clipn.data.download import crawl
from clipn.data.download.crawl import End
from clipn.data.download.policy import FetchPolicy
from tests.waiting import wait_until

POLICY = FetchPolicy(image_seconds=9, max_bytes=10**6)


def group(leader: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def run(arguments: dict[str, Any], work: Path, tick: Callable[[], int] = lambda: 0, **deadlines: float) -> End:
    return crawl.run(arguments, POLICY, work, **({"shard_seconds": 60, "deadline_seconds": 60} | deadlines), tick=tick)


def test_run_passes_arguments_that_a_shell_or_parser_would_change(tmp_path: Path) -> None:
    """img2dataset refuses an unknown argument by its very name; the log says so and the run ends."""
    ended = run({"url_list": "--help; $(exit) '[1,2]'", "é -x": None}, tmp_path)
    log = crawl.log_file(tmp_path).read_text()
    assert ended == End.BY_ITSELF
    assert "unexpected keyword argument 'é -x'" in log
    assert json.loads((tmp_path / "arguments.json").read_text())["download"]["url_list"] == "--help; $(exit) '[1,2]'"


@pytest.fixture
def leaders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of the children that `crawl` starts."""
    found: list[int] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[call-overload]
            found.append(self.pid)

    monkeypatch.setattr(crawl.subprocess, "Popen", Recorded)
    return found


def test_the_deadline_stops_the_child(tmp_path: Path, leaders: list[int]) -> None:
    assert run({}, tmp_path, deadline_seconds=0.3) == End.DEADLINE
    assert len(leaders) == 1
    assert group(leaders[0]) == []


def test_a_child_that_gets_nothing_done_is_stopped(
    tmp_path: Path, leaders: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """img2dataset waits for ever when one of its workers was killed."""
    os.mkfifo(tmp_path / "list.txt")  # it waits for a writer
    monkeypatch.setattr(crawl, "_SPARE_SECONDS", 0.2)
    arguments = {"url_list": str(tmp_path / "list.txt"), "output_folder": str(tmp_path / "raw")}
    done = iter([*range(5)] + [5] * 1000)
    assert run(arguments, tmp_path, lambda: next(done), shard_seconds=0.3) == End.STALLED
    assert next(done) == 5
    assert group(leaders[0]) == []


def test_an_exception_of_the_caller_stops_the_child(tmp_path: Path, leaders: list[int]) -> None:
    def interrupt() -> int:
        assert len(group(leaders[0])) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run({}, tmp_path, interrupt)
    assert group(leaders[0]) == []


def test_a_child_that_ignores_sigterm_is_killed(
    tmp_path: Path, leaders: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{deaf}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(crawl.sys, "executable", str(script))
    monkeypatch.setattr(crawl, "_GRACE_SECONDS", 0.2)

    def interrupt_once_deaf() -> int:
        if crawl.log_file(tmp_path).read_text():
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        run({}, tmp_path, interrupt_once_deaf)
    assert group(leaders[0]) == []


def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A parent that is killed cannot clean up; the child sees its end of the pipe close."""
    os.mkfifo(tmp_path / "list.txt")  # img2dataset would wait for a writer for ever
    code = """
import sys
from pathlib import Path
from clipn.data.download import crawl
from clipn.data.download.policy import FetchPolicy
folder = Path(sys.argv[1])
arguments = {"url_list": str(folder / "list.txt"), "output_folder": str(folder / "raw")}
policy = FetchPolicy(image_seconds=9, max_bytes=9)
crawl.run(arguments, policy, folder, shard_seconds=99, deadline_seconds=99, tick=lambda: 0)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.DEVNULL)
    wait_until(lambda: psutil.Process(parent.pid).children())
    child = psutil.Process(parent.pid).children()[0].pid
    parent.kill()
    parent.wait()
    wait_until(lambda: not group(child))


def test_the_server_of_local_files_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "example.org")
    assert crawl.environment(POLICY)["no_proxy"] == "example.org,127.0.0.1"
    policy = FetchPolicy(image_seconds=9, max_bytes=10, own_server="10.0.0.9:4711")
    assert crawl.environment(policy)["no_proxy"] == "example.org,10.0.0.9"
