"""Why an address gave no image: a short list of reasons, and which of them may pass.

A message is `REASON: DETAIL`, so that failures can be counted by reason and tried again by reason.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
import urllib.error
from http import HTTPStatus

TIMEOUT = "timeout"
LOST = "connection lost"
NAME_SERVER = "name server"
THIS_MACHINE = "this machine"
UNKNOWN_HOST = "unknown host"
NO_CONNECTION = "no connection"
TLS = "tls"
PRIVATE = "private address"
TOO_LARGE = "too large"
BAD_ADDRESS = "bad address"
BAD_ANSWER = "bad answer"
OPT_OUT = "opt-out"
NOT_AN_IMAGE = "not an image"
OTHER = "other"

_TRANSIENT = frozenset({TIMEOUT, LOST, NAME_SERVER, THIS_MACHINE})
_KNOWN = _TRANSIENT | {UNKNOWN_HOST, NO_CONNECTION, TLS, PRIVATE, TOO_LARGE, BAD_ADDRESS, BAD_ANSWER, NOT_AN_IMAGE}
_HTTP = re.compile(r"http [0-9]{3}")
_TRANSIENT_HTTP = re.compile(r"http (408|425|429|5[0-9]{2})")
_OWN_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_OWN_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN})
# What img2dataset says in its own words.
_OPT_OUT_MESSAGE = "Use of image disallowed by X-Robots-Tag directive"
_UNDECODABLE_MESSAGE = "Image decoding error"


class FetchError(OSError):
    """An address gave no image. The message begins with the reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {' '.join(detail.split())}")
        self.reason = reason


def canonical(message: str) -> str:
    """img2dataset's own messages in this module's form; others as they are."""
    if message == _OPT_OUT_MESSAGE:
        return f"{OPT_OUT}: the X-Robots-Tag of the answer asks not to use the image"
    if message == _UNDECODABLE_MESSAGE:
        return f"{NOT_AN_IMAGE}: it cannot be decoded"
    return message


def reason(message: str) -> str:
    """Return the reason that a message begins with."""
    start = message.partition(":")[0]
    return start if start in _KNOWN or start == OPT_OUT or _HTTP.fullmatch(start) else OTHER


def is_transient(reason: str) -> bool:
    """Return whether trying again later may help: time-outs, lost connections, 408, 425, 429, 5xx, own network."""
    return reason in _TRANSIENT or _TRANSIENT_HTTP.fullmatch(reason) is not None


def translate(error: OSError | http.client.HTTPException | ValueError) -> FetchError:
    """Return what urllib raised, with its reason."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        phrases = {status.value: status.phrase for status in HTTPStatus}
        return FetchError(f"http {error.code:03d}", phrases.get(error.code, "unknown status"))
    if isinstance(error, urllib.error.URLError):
        cause = error.reason
        return translate(cause) if isinstance(cause, OSError) else FetchError(BAD_ADDRESS, str(cause))
    return FetchError(_reason_of(error), str(error) or type(error).__name__)


def _reason_of(error: OSError | http.client.HTTPException | ValueError) -> str:
    if isinstance(error, TimeoutError):
        return TIMEOUT
    if isinstance(error, ConnectionRefusedError):
        return NO_CONNECTION
    if isinstance(error, ConnectionError | http.client.IncompleteRead | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return LOST
    if isinstance(error, ssl.SSLError):
        return TLS
    if isinstance(error, socket.gaierror):
        return NAME_SERVER if error.errno == socket.EAI_AGAIN else UNKNOWN_HOST
    if isinstance(error, http.client.InvalidURL | ValueError):
        return BAD_ADDRESS
    if isinstance(error, http.client.HTTPException):
        return BAD_ANSWER
    if error.errno in _OWN_SHORTAGE | _OWN_NETWORK:
        return THIS_MACHINE
    return NO_CONNECTION if error.errno == errno.EHOSTUNREACH else OTHER
