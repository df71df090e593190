from __future__ import annotations

import errno
import http.client
import socket
import ssl
import urllib.error
from email.message import Message

import pytest

from clipn.data.download import failures
from clipn.data.download.failures import FetchError


def http_error(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://x", code, "whatever the server says", Message(), None)


@pytest.mark.parametrize(
    ("error", "message", "transient"),
    [
        (http_error(404), "http 404: Not Found", False),
        (http_error(403), "http 403: Forbidden", False),
        (http_error(408), "http 408: Request Timeout", True),
        (http_error(429), "http 429: Too Many Requests", True),
        (http_error(503), "http 503: Service Unavailable", True),
        (http_error(599), "http 599: unknown status", True),
        (TimeoutError("timed out"), "timeout: timed out", True),
        (urllib.error.URLError(TimeoutError("timed out")), "timeout: timed out", True),
        (ConnectionResetError(104, "reset"), "connection lost: [Errno 104] reset", True),
        (http.client.RemoteDisconnected("closed"), "connection lost: closed", True),
        (http.client.IncompleteRead(b"ab", 3), "connection lost: IncompleteRead", True),
        (urllib.error.URLError(ConnectionRefusedError(111, "refused")), "no connection", False),
        (OSError(errno.EHOSTUNREACH, "no route"), "no connection", False),
        (socket.gaierror(socket.EAI_NONAME, "not known"), "unknown host", False),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "name server", True),
        (OSError(errno.ENETUNREACH, "unreachable"), "this machine", True),
        (OSError(errno.EMFILE, "too many files"), "this machine", True),
        (ssl.SSLCertVerificationError("expired"), "tls", False),
        (urllib.error.URLError("unknown url type: ftp"), "bad address: unknown url type: ftp", False),
        (UnicodeEncodeError("idna", "x", 0, 1, "label too long"), "bad address", False),
        (http.client.InvalidURL("control characters"), "bad address", False),
        (http.client.BadStatusLine("SSH-2.0"), "bad answer: SSH-2.0", False),
        (OSError("strange"), "other: strange", False),
        (FetchError("too large", "x"), "too large: x", False),
    ],
)
def test_errors_by_reason(
    error: OSError | http.client.HTTPException | ValueError, message: str, transient: bool
) -> None:
    translated = failures.translate(error)
    assert str(translated).startswith(message)
    assert failures.reason(str(translated)) == translated.reason
    assert failures.is_transient(translated.reason) is transient


def test_messages_of_img2dataset_get_a_reason_that_does_not_pass() -> None:
    """They are what img2dataset's downloader and resizer say."""
    messages = {
        "Use of image disallowed by X-Robots-Tag directive": "opt-out",
        "Image decoding error": "not an image",
        "OpenCV(4.1) error: timeout": "other",
    }
    for message, reason in messages.items():
        assert failures.reason(failures.canonical(message)) == reason
        assert not failures.is_transient(reason)


def test_a_message_is_one_line() -> None:
    assert str(FetchError("timeout", "a\r\nb")) == "timeout: a b"
