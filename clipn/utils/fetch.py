"""One file over HTTP: resumed where possible, checked, and there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import requests
import urllib3

from clipn.errors import DownloadFailed
from clipn.utils.progress import Progress, silent

RETRIES = 3
BACKOFF_SECONDS = 1.0
CHUNK = 2**20

_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)


class _PermanentError(Exception):
    """Trying again would not help."""


class _TransientError(Exception):
    """Trying again may help."""


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    max_bytes: int | None = None,
    timeout: float = 30,
    progress: Progress = silent,
) -> None:
    """Fetch `url` to `path`, unless the file is there already and matches the checksum.

    Connection resets, time-outs and answers of 429 or 5xx are tried again, continuing with a Range
    request where the server allows it. With a checksum, what an earlier call got is continued too.

    Args:
        url: http or https.
        path: the file to write; its folder is made.
        sha256: hex digest that the content must have.
        md5: the same for publishers who give nothing better.
        max_bytes: refuse larger files.
        timeout: seconds, per socket operation.
        progress: called with bytes so far and in all (0 if the server does not say).

    Raises:
        DownloadFailed: with the address, the reason and the way out.
    """
    path = Path(path)
    checksums = {name: digest.lower() for name, digest in (("sha256", sha256), ("md5", md5)) if digest}
    if path.exists():
        _verify(path, checksums, f"{path} is there already, but ", "Remove it to have it fetched again")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if not checksums:
        partial.unlink(missing_ok=True)  # nothing would tell if the server's file changed in between
    way_out = f"Check the network, or fetch it by hand and put it at {path}"
    validator = None
    for attempt in range(RETRIES + 1):
        try:
            with _request(url, partial, validator, timeout) as response:
                validator = _validator(response)
                _receive(response, partial, max_bytes, progress)
            break
        except _PermanentError as error:
            if not checksums:
                partial.unlink(missing_ok=True)
            raise DownloadFailed(f"could not fetch {url}: {error}. {way_out}") from error
        except _TransientError as error:
            if not checksums and (validator is None or attempt == RETRIES):
                partial.unlink(missing_ok=True)
            if attempt == RETRIES:
                raise DownloadFailed(f"could not fetch {url}: {error}, {RETRIES + 1} times. {way_out}") from error
            time.sleep(BACKOFF_SECONDS * 2**attempt)
    try:
        _verify(partial, checksums, f"what {url} sent ", way_out)
    except DownloadFailed:
        partial.unlink()
        raise
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    partial.replace(path)


def _request(url: str, partial: Path, validator: str | None, timeout: float) -> requests.Response:
    """Return the server's answer to a request for the rest of `partial`."""
    headers = {"Accept-Encoding": "identity"}
    size = partial.stat().st_size if partial.exists() else 0
    if size:
        headers["Range"] = f"bytes={size}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=timeout)
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        raise _PermanentError(str(error)) from error
    except _TRANSIENT as error:
        cause = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(cause, urllib3.exceptions.NewConnectionError):  # unknown host, or nobody listens there
            raise _PermanentError(str(cause)) from error
        raise _TransientError(str(error)) from error
    except (requests.RequestException, ValueError) as error:
        raise _PermanentError(str(error)) from error
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if response.status_code == 200 or (response.status_code == 206 and start == str(size)):
        return response
    response.close()
    if response.status_code in (206, 416):  # another part than was asked for, or none since `partial` is too long
        partial.unlink(missing_ok=True)
    problem = f"the server answered {response.status_code} {response.reason}"
    if response.status_code in (206, 416, 429) or response.status_code >= 500:
        raise _TransientError(problem)
    raise _PermanentError(problem)


def _validator(response: requests.Response) -> str | None:
    """Return the value for If-Range that identifies the server's version of the file byte for byte."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _receive(response: requests.Response, partial: Path, max_bytes: int | None, progress: Progress) -> None:
    continued = response.status_code == 206
    done = partial.stat().st_size if continued else 0
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdigit() else 0
    try:
        with partial.open("ab" if continued else "wb") as handle:
            _within(total, max_bytes)
            # The raw stream, so that a server that marks a .gz as compressed does not get it unpacked.
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                done += len(chunk)
                _within(done, max_bytes)
                handle.write(chunk)
                progress(done, total)
    except _TRANSIENT as error:
        raise _TransientError(str(error)) from error
    if total and done != total:
        raise _TransientError(f"{done} of {total} bytes arrived")


def _within(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise _PermanentError(f"it has {size} bytes or more, limit {max_bytes}")


def _verify(path: Path, checksums: dict[str, str], what: str, way_out: str) -> None:
    for name, expected in checksums.items():
        with path.open("rb") as handle:
            actual = hashlib.file_digest(handle, name).hexdigest()
        if actual != expected:
            raise DownloadFailed(f"{what}has the {name} {actual} and not {expected}. {way_out}")
