"""`fetch` against a real server that cuts, refuses, lies and drips."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clipn.errors import DownloadFailed
from clipn.utils import fetch as module
from clipn.utils.fetch import fetch

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server:
    """Serves BODY; `plan` holds what the next answers do instead, `ranges` what was asked for."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.ranges: list[str | None] = []
        self.with_range = True
        self.etag: str | None = '"v1"'
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/set.tar.gz"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        what = self.plan.pop(0) if self.plan else "whole"
        if what.isdigit():
            request.send_response(int(what))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.with_range else 0
        if request.headers.get("If-Range") not in (None, self.etag):
            start = 0
        if start >= len(BODY):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = BODY[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        if self.etag:
            request.send_header("ETag", self.etag)
        if what == "gzip label":
            request.send_header("Content-Encoding", "gzip")
        if what == "endless":
            request.send_header("Connection", "close")
            body = body * 100
        else:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if what == "hang":
            request.wfile.write(body[:100])
            request.wfile.flush()
            threading.Event().wait(1.0)
        request.wfile.write(body[:1000] if what == "cut" else body)
        request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.001)
    it = Server()
    thread = threading.Thread(target=it.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield it
    it.http.shutdown()
    it.http.server_close()


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetches_and_reports_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server.url, tmp_path / "deep" / "a", sha256=SHA256, progress=lambda *x: seen.append(x))
    assert (tmp_path / "deep" / "a").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert left_behind(tmp_path / "deep") == ["a"]


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    fetch(server.url, tmp_path / "a", sha256=SHA256, md5=hashlib.md5(BODY).hexdigest())
    assert server.ranges == []


def test_a_wrong_file_that_is_there_is_named_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(DownloadFailed, match=r"a is there already, but has the sha256 .* Remove it"):
        fetch(server.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == b"other"


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_a_cut_answer_is_continued(server: Server, tmp_path: Path, etag: str | None) -> None:
    server.plan, server.etag = ["cut", "503", "cut"], etag
    fetch(server.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=2000-"]


def test_a_cut_answer_starts_anew_where_nothing_would_tell_a_changed_file(server: Server, tmp_path: Path) -> None:
    server.plan, server.etag = ["cut"], None
    fetch(server.url, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges == [None, None]


def test_a_server_without_ranges_is_asked_for_the_whole(server: Server, tmp_path: Path) -> None:
    server.plan, server.with_range = ["cut"], False
    fetch(server.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == BODY


def test_the_partial_file_of_an_earlier_call_is_continued_with_a_checksum_only(server: Server, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f".{name}.partial").write_bytes(BODY[:3000])
        fetch(server.url, tmp_path / name, sha256=SHA256 if name == "a" else None)
        assert (tmp_path / name).read_bytes() == BODY
    assert server.ranges == ["bytes=3000-", None]


def test_a_partial_file_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.partial").write_bytes(BODY + b"x")
    fetch(server.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=rf"what http.* sent has the md5 .* and not {'0' * 32}.*put it at .*a$"):
        fetch(server.url, tmp_path / "a", md5="0" * 32)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("status", ["404", "403", "410"])
def test_a_final_answer_is_not_tried_again(server: Server, tmp_path: Path, status: str) -> None:
    server.plan = [status]
    with pytest.raises(DownloadFailed, match=rf"{server.url}: the server answered {status} .*fetch it by hand"):
        fetch(server.url, tmp_path / "a")
    assert len(server.ranges) == 1
    assert left_behind(tmp_path) == []


def test_gives_up_after_the_retries(server: Server, tmp_path: Path) -> None:
    server.plan = ["500"] * 9
    with pytest.raises(DownloadFailed, match="500 Internal Server Error, 4 times"):
        fetch(server.url, tmp_path / "a")
    assert len(server.ranges) == 1 + module.RETRIES


def test_a_time_out_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.plan = ["hang"]
    fetch(server.url, tmp_path / "a", sha256=SHA256, timeout=0.2)
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.ranges) == 2


@pytest.mark.parametrize("plan", [[], ["endless"]])
def test_the_byte_limit_holds_with_and_without_a_stated_length(server: Server, tmp_path: Path, plan: list[str]) -> None:
    server.plan = plan
    limit = len(BODY) - 1 if not plan else 2 * len(BODY)
    with pytest.raises(DownloadFailed, match=f"bytes or more, limit {limit}"):
        fetch(server.url, tmp_path / "a", max_bytes=limit)
    assert left_behind(tmp_path) == []
    assert len(server.ranges) == 1


def test_bytes_are_kept_as_sent_when_the_server_calls_them_compressed(server: Server, tmp_path: Path) -> None:
    server.plan = ["gzip label"]
    fetch(server.url, tmp_path / "a", sha256=SHA256)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/a", "ftp://127.0.0.1/a", "file:///etc/passwd", "http://"])
def test_addresses_that_cannot_work_fail_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waited"))
    with pytest.raises(DownloadFailed, match="could not fetch"):
        fetch(url, tmp_path / "a")


def test_a_port_where_nobody_listens_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waited"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(DownloadFailed, match="refused"):
        fetch(f"http://127.0.0.1:{port}/a", tmp_path / "a")
