from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from pathlib import Path

import psutil
import pytest

from clipn import crawl


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


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def server(*answers: bytes, drip: bytes = b"") -> Iterator[str]:
    """Answers any request with `answers`, then with `drip` ten times a second until the client hangs up."""

    def answer(client: socket.socket) -> None:
        with client:
            client.recv(2**16)
            try:
                for part in answers:
                    client.sendall(part)
                while drip:
                    client.sendall(drip)
                    time.sleep(0.1)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)


def fetch(address: str, timeout: float = 5) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "x"})
    with crawl._opener().open(request, timeout=timeout) as response:
        return response.read()


OK = b"HTTP/1.1 200 OK\r\n"


def test_opener_reads_plain_and_chunked_bodies() -> None:
    with server(OK, b"Content-Length: 5\r\n\r\n", b"hello") as address:
        assert fetch(address) == b"hello"
    with server(OK, b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n") as address:
        assert fetch(address) == b"hello"
    with server(OK, b"\r\n", b"hello") as address:
        assert fetch(address) == b"hello"


def test_opener_reports_errors_as_urllib_does() -> None:
    with (
        server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as address,
        pytest.raises(urllib.error.HTTPError) as e,
    ):
        fetch(address)
    assert str(e.value) == "HTTP Error 404: Not Found"


def test_opener_refuses_a_body_that_was_cut_off() -> None:
    with server(OK, b"Content-Length: 9\r\n\r\n", b"hello") as address, pytest.raises(IncompleteRead) as caught:
        fetch(address)
    assert "5 bytes read, 4 more expected" in str(caught.value)


def test_opener_gives_up_on_a_server_that_drips() -> None:
    start = time.monotonic()
    with server(OK, b"\r\n", drip=b".") as address, pytest.raises(OSError, match=r"not complete after 0\.6 s"):
        fetch(address, timeout=0.2)  # each byte comes in time
    assert time.monotonic() - start < 10


def test_opener_gives_up_on_a_body_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl, "MAX_BYTES", 10**6)
    with (
        server(OK, b"\r\n", *([b"x" * 10**5] * 100)) as address,
        pytest.raises(OSError, match="larger than 1000000 bytes"),
    ):
        fetch(address)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,x"])
def test_opener_knows_http_only(target: str) -> None:
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        fetch(target)


def test_opener_does_not_follow_a_link_out_of_http() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"
    with server(answer) as address, pytest.raises(urllib.error.HTTPError, match="not allowed"):
        fetch(address)


def test_run_passes_arguments_that_a_shell_or_parser_would_change(tmp_path: Path) -> None:
    """img2dataset refuses an unknown argument by its very name; the log says so and the run ends."""
    ended = crawl.run({"url_list": "--help; $(exit) '[1,2]'", "é -x": None}, tmp_path, 60, lambda: None)
    log = crawl.log_file(tmp_path).read_text()
    assert ended
    assert "unexpected keyword argument 'é -x'" in log
    assert json.loads((tmp_path / "arguments.json").read_text())["url_list"] == "--help; $(exit) '[1,2]'"


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
    assert not crawl.run({}, tmp_path, 0.3, lambda: None)
    assert len(leaders) == 1
    assert group(leaders[0]) == []


def test_an_exception_of_the_caller_stops_the_child(tmp_path: Path, leaders: list[int]) -> None:
    def interrupt() -> None:
        assert len(group(leaders[0])) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crawl.run({}, tmp_path, 60, interrupt)
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

    def interrupt_once_deaf() -> None:
        if crawl.log_file(tmp_path).read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crawl.run({}, tmp_path, 60, interrupt_once_deaf)
    assert group(leaders[0]) == []


def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A parent that is killed cannot clean up; the child sees its end of the pipe close."""
    os.mkfifo(tmp_path / "list.txt")  # img2dataset would wait for a writer for ever
    code = """
import sys
from pathlib import Path
from clipn import crawl
folder = Path(sys.argv[1])
arguments = {"url_list": str(folder / "list.txt"), "output_folder": str(folder / "raw")}
crawl.run(arguments, folder, 99, lambda: None)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.DEVNULL)
    wait_for(lambda: psutil.Process(parent.pid).children())
    child = psutil.Process(parent.pid).children()[0].pid
    parent.kill()
    parent.wait()
    wait_for(lambda: not group(child))
