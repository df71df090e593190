"""A web server for files on disk, so that a downloader can fetch them like any others; on loopback unless told else."""

from __future__ import annotations

import re
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from clipn.data.images import SUFFIXES
from clipn.errors import InvalidParams

LOOPBACK = "127.0.0.1"

_ADDRESS = re.compile(r"/([0-9]{1,12})(\.[a-z]+)?")


class LoopbackServer:
    """Serves `files[i]` at `/i` plus its suffix, and nothing else, while the context lasts.

    A request is only ever an index into the list, so no request can name a path. The port is chosen by
    the system. A file that does not exist is a 404.

    Args:
        files: what may be served.
        flaky: indices that are refused once with a 503 before they are served.
        host: name or IPv4 address of this machine; whoever can reach it can fetch the files.

    Raises:
        InvalidParams: on entering the context, if `host` is none of this machine.
    """

    def __init__(self, files: Sequence[Path], flaky: frozenset[int] = frozenset(), host: str = LOOPBACK) -> None:
        self._files = files
        self._host = host
        self._to_refuse = set(flaky)
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()

    def __enter__(self) -> LoopbackServer:
        try:
            self._server = _Server(self, self._host)
        except OSError as error:
            raise InvalidParams(f"local files cannot be served at {self._host}: {error.strerror or error}") from error
        # The poll interval only bounds how long leaving the context takes.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def address(self, index: int) -> str:
        """Return the http address of `files[index]`."""
        return f"http://{self.host_and_port}{self._path(index)}"

    @property
    def host_and_port(self) -> str:
        """As they stand in its addresses."""
        return f"{self._host}:{self._server.server_port}"

    @property
    def requests(self) -> dict[int, int]:
        """HTTP status → number of answers so far."""
        with self._lock:
            return dict(self._counts)

    def _path(self, index: int) -> str:
        suffix = self._files[index].suffix.lower()
        return f"/{index}{suffix if suffix in SUFFIXES else ''}"

    def _find(self, path: str) -> Path | HTTPStatus:
        """The file that a request means, or the status that refuses it."""
        match = _ADDRESS.fullmatch(path)
        index = int(match[1]) if match else len(self._files)
        if index >= len(self._files) or path != self._path(index):
            return HTTPStatus.NOT_FOUND
        with self._lock:
            if index in self._to_refuse:
                self._to_refuse.remove(index)
                return HTTPStatus.SERVICE_UNAVAILABLE
        file = self._files[index]
        return file if file.is_file() else HTTPStatus.NOT_FOUND  # opening a pipe would block for ever

    def _count(self, status: HTTPStatus) -> None:
        with self._lock:
            self._counts[int(status)] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024  # the default of 5 resets connections when hundreds of threads come at once

    def __init__(self, owner: LoopbackServer, host: str) -> None:
        self.owner = owner
        super().__init__((host, 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up early is its own business."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30  # seconds for a client that stops reading

    def do_GET(self) -> None:
        answer = self.server.owner._find(self.path)
        if isinstance(answer, Path):
            try:
                with answer.open("rb") as content:
                    self._head(HTTPStatus.OK, answer.stat().st_size)
                    shutil.copyfileobj(content, self.wfile)
                return
            except PermissionError:
                answer = HTTPStatus.FORBIDDEN
        self._head(answer, 0)

    def _head(self, status: HTTPStatus, length: int) -> None:
        self.server.owner._count(status)
        self.send_response_only(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line per image would drown everything else."""
