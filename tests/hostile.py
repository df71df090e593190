"""A web server on loopback that answers as bad servers do."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

Answer = Callable[[int], Iterable[bytes]]
"""How often the path was asked for before → what is sent, part by part."""


def plain(status: str, *headers: str, body: bytes = b"") -> Answer:
    """One whole answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return lambda _: ["\r\n".join(lines).encode() + body]


def sent(*parts: bytes) -> Answer:
    """These bytes and no more."""
    return lambda _: parts


def dripped(start: bytes) -> Answer:
    """A byte twenty times a second without end, which gets past every time-out of one socket operation."""

    def answer(_: int) -> Iterator[bytes]:
        yield start
        while True:
            time.sleep(0.05)
            yield b"x"

    return answer


def endless(start: bytes) -> Answer:
    """As many bytes as the client takes."""

    def answer(_: int) -> Iterator[bytes]:
        yield start
        while True:
            yield b"x" * 2**16

    return answer


def in_turn(*answers: Answer) -> Answer:
    """A different answer each time; the last one from then on."""
    return lambda count: answers[min(count, len(answers) - 1)](count)


class HostileServer:
    """Answers paths as `answers` says, anything else with a 404, while the context lasts."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> HostileServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                path = client.recv(2**16).split(b" ")[1].decode()
                with self._lock:
                    count = self.requests[path]
                    self.requests[path] += 1
                for part in self.answers.get(path, plain("404 Not Found"))(count):
                    client.sendall(part)
            except (OSError, IndexError):
                return
