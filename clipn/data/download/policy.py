"""An opener for urllib with limits that urllib does not have.

img2dataset fetches with `urllib.request.urlopen`. Its time-out is per socket operation, so a server that
drips holds it for ever; it reads bodies of any size, and it follows links to wherever they lead. This
opener bounds the whole of it: one deadline over name look-up, redirects, headers and body, a limit of
bytes, and no address of this machine or of a local network, checked at each connection after the name
was resolved, on the very address that is then connected to.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import math
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
import urllib.response
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from clipn.data.download import failures
from clipn.data.download.failures import FetchError

_CHUNK = 2**16
_BACKOFF_SECONDS = 0.5
_TICK_SECONDS = 0.005  # clocks of sockets and of this process may differ by so much
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64 (RFC 6052)


@dataclass(frozen=True)
class FetchPolicy:
    """What fetching one address may cost, and where it may lead.

    Attributes:
        image_seconds: for one address in all, with its redirects and retries.
        max_bytes: of one body.
        retries: how often a transient failure is tried again at once.
        private_addresses: whether addresses of this machine and of local networks may be fetched.
        own_server: `HOST:PORT` of the loopback server for local files; may be asked for, but never redirected to.
    """

    image_seconds: float
    max_bytes: int
    retries: int = 0
    private_addresses: bool = False
    own_server: str = ""


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere: not of this machine, a local network or a group."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        inside = low if ip in _TRANSLATED or int(ip) >> 32 == 0 else ip.ipv4_mapped or ip.sixtofour
        return ip.is_global and not ip.is_multicast if inside is None else is_public(str(inside))
    return ip.is_global and not ip.is_multicast


class PolicyOpener(urllib.request.OpenerDirector):
    """Opens http and https within a policy; every failure is a `FetchError`.

    Args:
        policy: for each address.
        seconds: from now on for all addresses together; later ones time out at once.
    """

    def __init__(self, policy: FetchPolicy, seconds: float = math.inf) -> None:
        super().__init__()
        self.policy = policy
        self.network_seconds = 0.0
        """Added up over all threads."""
        self._all_end = time.monotonic() + seconds
        self._all_seconds = seconds
        self._lock = threading.Lock()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            _HttpHandler(),
            _HttpsHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            _RedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            _BodyReader(),
        ):
            self.add_handler(handler)

    def open(self, fullurl: Any, data: Any = None, timeout: Any = None) -> Any:
        """Return the answer with its whole body.

        Args:
            fullurl: a request or an address.
            data: not used.
            timeout: seconds for one socket operation.

        Raises:
            FetchError: there is none within the policy.
        """
        if isinstance(fullurl, _Hop):  # a redirect, within the call for its first hop
            return super().open(fullurl, None, timeout)
        start = time.monotonic()
        end = min(start + self.policy.image_seconds, self._all_end)
        try:
            return self._try(fullurl, timeout, end)
        finally:
            with self._lock:
                self.network_seconds += time.monotonic() - start

    def _try(self, target: urllib.request.Request | str, timeout: float, end: float) -> Any:
        for attempt in range(self.policy.retries + 1):
            try:
                if time.monotonic() >= end:
                    raise TimeoutError
                request = target if isinstance(target, urllib.request.Request) else urllib.request.Request(target)
                return super().open(_Hop(request, self.policy, end), None, timeout)
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = failures.translate(error)
            remaining = end - time.monotonic()
            if remaining <= _TICK_SECONDS or not failures.is_transient(failure.reason):
                break
            if attempt < self.policy.retries:
                time.sleep(min(_BACKOFF_SECONDS * 2**attempt, remaining))
        if failure.reason == failures.TIMEOUT:
            failure = FetchError(failures.TIMEOUT, self._what_ended(timeout, end))
        raise failure

    def _what_ended(self, timeout: float, end: float) -> str:
        now = time.monotonic() + _TICK_SECONDS
        if now >= self._all_end:
            return f"the {self._all_seconds:g} s for the whole shard are over"
        return (
            f"not complete after {self.policy.image_seconds:g} s" if now >= end else f"no answer within {timeout:g} s"
        )


class _Hop(urllib.request.Request):
    """One request on the way from an address to its image."""

    def __init__(self, request: urllib.request.Request, policy: FetchPolicy, end: float, first: bool = True) -> None:
        super().__init__(request.full_url, headers=request.headers, method="GET")
        self.policy = policy
        self.end = end
        self.first = first


class _Timed:
    """A socket whose operations all end before `end`."""

    end = math.inf
    patience: float | None = None
    """Seconds for one operation."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        remaining = self.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self.settimeout(remaining if self.patience is None else min(self.patience, remaining))  # type: ignore[attr-defined]
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]


class _Socket(_Timed, socket.socket):
    pass


class _TlsSocket(_Timed, ssl.SSLSocket):
    pass


class _Guarded(http.client.HTTPConnection):
    """A connection that is made to allowed addresses only and ends before the hop's deadline."""

    def __init__(self, host: str, *, hop: _Hop, **arguments: Any) -> None:
        super().__init__(host, **arguments)
        self._hop = hop
        self._create_connection = partial(_connect, hop)  # as http.client's own tests replace it

    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, _Timed)
        self.sock.end, self.sock.patience = self._hop.end, self.timeout


class _GuardedTls(_Guarded, http.client.HTTPSConnection):
    pass


def _connect(hop: _Hop, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
    host, port = address
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not _is_exempt(hop, host, port):
        public = [info for info in addresses if is_public(str(info[4][0]))]
        if not public:
            raise FetchError(failures.PRIVATE, f"{host} is {addresses[0][4][0]}; see download.private_addresses")
        addresses = public
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, place in addresses:
        remaining = hop.end - time.monotonic()
        if remaining <= 0:
            break
        connection = _Socket(family, kind, protocol)
        connection.end, connection.patience = hop.end, timeout
        connection.settimeout(min(timeout, remaining))
        try:
            connection.connect(place)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


def _is_exempt(hop: _Hop, host: str, port: int) -> bool:
    """Whether this connection may lead anywhere."""
    if hop.policy.private_addresses or (hop.first and f"{host}:{port}" == hop.policy.own_server):
        return True
    if not hop.has_proxy() and not getattr(hop, "_tunnel_host", None):
        return False
    # The proxy is this machine's own choice, and it resolves names itself; what can be told here is a bare address.
    target = urllib.parse.urlsplit(hop.full_url).hostname or ""
    try:
        public = is_public(target)
    except ValueError:
        public = target != "localhost" and not target.endswith(".localhost")
    if not public:
        raise FetchError(failures.PRIVATE, f"{target}; see download.private_addresses")
    return True


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Guarded, request, hop=request)  # type: ignore[arg-type]


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.sslsocket_class = _TlsSocket
        super().__init__(context=context)
        self._own_context = context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_GuardedTls, request, hop=request, context=self._own_context)  # type: ignore[arg-type]


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        assert isinstance(req, _Hop)
        return None if request is None else _Hop(request, req.policy, req.end, first=False)


class _BodyReader(urllib.request.BaseHandler):
    """Reads the body of a good answer within the limits; what comes with other answers is of no use."""

    def http_response(
        self, request: urllib.request.Request, response: http.client.HTTPResponse
    ) -> urllib.response.addinfourl:
        assert isinstance(request, _Hop)
        with response:
            body = _read(response, request.policy.max_bytes) if 200 <= response.status < 300 else b""
        answer = urllib.response.addinfourl(io.BytesIO(body), response.headers, response.url, response.status)
        answer.msg = response.msg  # type: ignore[attr-defined]
        return answer

    https_response = http_response


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    announced = response.headers.get("Content-Length", "").strip()
    expected = int(announced) if announced.isdecimal() and len(announced) < 20 and not response.chunked else None
    body = bytearray()
    if expected is None or expected <= max_bytes:
        while len(body) <= max_bytes and (chunk := response.read1(_CHUNK)):
            body += chunk
    if max(len(body), expected or 0) > max_bytes:
        raise FetchError(failures.TOO_LARGE, f"more than {max_bytes} bytes")
    if expected is not None and len(body) < expected:
        raise FetchError(failures.LOST, f"{len(body)} of {expected} bytes arrived")
    return bytes(body)
