"""Running img2dataset as a child process that ends when it should.

img2dataset exits with 0 after failures and signals, waits for ever if one of its workers dies, and
limits neither the size of an image nor the time it takes: its time-out is per socket operation. So it
runs in a process group of its own with a deadline, and with an opener for urllib that has limits.
Whether it did its work is for `clipn.shards` to find out.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import types
import urllib.request
import urllib.response
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from clipn import images

MAX_BYTES = 64 * 2**20
"""Larger files are not fetched to the end."""
MAX_TIMEOUTS = 3
"""A file may take so many times the time-out of one socket operation in all."""

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.1
_OWN_NAMES = ("__main__", "__mp_main__")


def run(arguments: Mapping[str, Any], work: Path, deadline_seconds: float, tick: Callable[[], None]) -> bool:
    """Call `img2dataset.download(**arguments)` in a child process and wait for its end.

    However this function is left, no process of the child's group is left running, even if this
    process itself is killed.

    Args:
        arguments: what can be written as JSON.
        work: an existing folder for the log `img2dataset.log` and the arguments.
        deadline_seconds: then the child is stopped.
        tick: called several times a second while the child runs.

    Returns:
        whether the child ended before the deadline; in which state says neither this nor its exit status.
    """
    (work / "arguments.json").write_text(json.dumps(dict(arguments)), encoding="utf-8")
    command = [sys.executable, "-m", "clipn.crawl", str(work / "arguments.json")]
    end = monotonic() + deadline_seconds
    with log_file(work).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end of file tells the child that this process is gone
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | _environment(),
            start_new_session=True,
        )
    try:
        while monotonic() < end:
            try:
                child.wait(_POLL_SECONDS)
                return True
            except subprocess.TimeoutExpired:
                tick()
        return False
    finally:
        _stop(child)


def log_file(work: Path) -> Path:
    """Where `run` lets img2dataset write what it prints."""
    return work / "img2dataset.log"


def _environment() -> dict[str, str]:
    bypass = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    return {
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "WDS_SECURE": "1",
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(images.MAX_PIXELS),
        "OPENCV_LOG_LEVEL": "ERROR",
        "no_proxy": "*" if bypass == "*" else f"{bypass},127.0.0.1",
    }


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the child's group: politely unless it ended well, so that it can clear its semaphores."""
    assert child.stdin is not None
    end = monotonic() + (_GRACE_SECONDS if child.poll() != 0 else 0)
    try:
        os.killpg(child.pid, signal.SIGTERM)
        while monotonic() < end:
            child.poll()
            os.killpg(child.pid, 0)  # raises when nobody is left
            sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.stdin.close()
    child.wait()


class _Limits(urllib.request.BaseHandler):
    """Reads the whole body within `MAX_BYTES` and `MAX_TIMEOUTS`, before img2dataset can read it without limits."""

    def http_response(
        self, request: urllib.request.Request, response: http.client.HTTPResponse
    ) -> urllib.response.addinfourl:
        assert request.timeout is not None  # img2dataset always sets it
        body = _read(response, MAX_TIMEOUTS * request.timeout)
        limited = urllib.response.addinfourl(io.BytesIO(body), response.headers, response.url, response.status)
        limited.msg = response.msg  # type: ignore[attr-defined]
        return limited

    https_response = http_response


def _read(response: http.client.HTTPResponse, seconds: float) -> bytes:
    end = monotonic() + seconds
    body = bytearray()
    while chunk := response.read1(2**16):
        body += chunk
        if len(body) > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES} bytes")
        if monotonic() > end:
            raise OSError(f"not complete after {seconds:g} s")
    expected = response.headers.get("Content-Length", "")
    if not response.chunked and expected.isdigit() and len(body) < int(expected):
        raise http.client.IncompleteRead(bytes(body), int(expected) - len(body))
    return bytes(body)


def _opener() -> urllib.request.OpenerDirector:
    """An opener with limits for http and https only; urllib's own also follows links to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Limits(),
    ):
        opener.add_handler(handler)
    return opener


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the parent is gone
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _main(arguments: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import img2dataset

    img2dataset.download(**json.loads(Path(arguments).read_text(encoding="utf-8")))


# img2dataset spawns its workers, and a spawned process imports the main module as `__mp_main__`.
if __name__ in _OWN_NAMES:
    # img2dataset imports both and uses neither here; they are half of the start-up time of each process.
    sys.modules["torch"] = None  # type: ignore[assignment]
    sys.modules["wandb"] = types.ModuleType("wandb")
    urllib.request.install_opener(_opener())
if __name__ == "__main__":
    _main(sys.argv[1])
