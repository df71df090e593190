"""The opener against real hostile servers on loopback."""

from __future__ import annotations

import dataclasses
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipn.data.download.failures import FetchError
from clipn.data.download.policy import FetchPolicy, PolicyOpener, _Socket, is_public
from tests.hostile import Answer, HostileServer, dripped, endless, in_turn, plain, sent

POLICY = FetchPolicy(image_seconds=0.6, max_bytes=10**6, private_addresses=True)
OK = b"HTTP/1.1 200 OK\r\n"


def fetch(address: str, policy: FetchPolicy = POLICY, timeout: float = 5, seconds: float = 60) -> bytes:
    with PolicyOpener(policy, seconds).open(address, timeout=timeout) as response:
        return response.read()


def failure(answer: Answer, policy: FetchPolicy = POLICY, timeout: float = 5) -> str:
    """What fetching fails with."""
    with HostileServer({"/": answer}) as server:
        with pytest.raises(FetchError) as caught:
            fetch(f"{server.address}/", policy, timeout)
        return str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        plain("200 OK", body=b"hello"),
        sent(OK, b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"),
        sent(OK, b"\r\n", b"hello"),
        sent(OK, b"Content-Length: 5\r\n\r\nhello and more"),
    ],
)
def test_bodies_arrive_whole(answer: Answer) -> None:
    with HostileServer({"/": answer}) as server:
        assert fetch(f"{server.address}/") == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        dripped(b""),
        dripped(OK + b"X-Slow: "),
        dripped(OK + b"\r\n"),
        dripped(OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\n"),
        lambda _: (b"HTTP/1.1 100 Continue\r\n\r\n" for _ in iter(lambda: time.sleep(0.05), 1)),
    ],
    ids=["status line", "headers", "body", "chunk", "continue"],
)
def test_a_server_that_drips_is_left_at_the_deadline(answer: Answer) -> None:
    assert failure(answer) == "timeout: not complete after 0.6 s"


def test_redirects_share_one_deadline() -> None:
    def redirect(to: int) -> Answer:
        def answer(_: int) -> list[bytes]:
            time.sleep(0.15)
            return [f"HTTP/1.1 302 Found\r\nLocation: /{to}\r\nContent-Length: 0\r\n\r\n".encode()]

        return answer

    with HostileServer({f"/{i}": redirect(i + 1) for i in range(9)}) as server:
        with pytest.raises(FetchError, match=r"timeout: not complete after 0\.6 s"):
            fetch(f"{server.address}/0")
        assert len(server.requests) < 9


def test_a_silent_server_is_left_at_the_time_out_of_one_operation() -> None:
    silent = failure(
        lambda _: iter(lambda: time.sleep(0.05) or b"", 1), dataclasses.replace(POLICY, image_seconds=60), 0.2
    )
    assert silent == "timeout: no answer within 0.2 s"


def test_addresses_after_the_shards_deadline_are_not_asked() -> None:
    with HostileServer({"/": plain("200 OK", body=b"x")}) as server:
        with pytest.raises(FetchError, match="timeout: the 0 s for the whole shard are over"):
            fetch(f"{server.address}/", seconds=0)
        assert not server.requests


def test_the_shards_deadline_ends_a_fetch_that_is_under_way() -> None:
    with (
        HostileServer({"/": dripped(OK + b"\r\n")}) as server,
        pytest.raises(FetchError, match=r"timeout: the 0\.3 s for the whole shard"),
    ):
        fetch(f"{server.address}/", FetchPolicy(60, 10**6, private_addresses=True), seconds=0.3)


@pytest.mark.parametrize(
    "answer",
    [
        endless(OK + b"\r\n"),
        endless(OK + b"Content-Length: 99999999999\r\n\r\n"),
        sent(OK + b"Content-Length: 1000001\r\n\r\n"),
    ],
)
def test_a_body_that_is_too_large_is_not_fetched_to_the_end(answer: Answer) -> None:
    assert failure(answer, FetchPolicy(10, 10**6, private_addresses=True)) == "too large: more than 1000000 bytes"


def test_a_body_of_exactly_the_limit_is_allowed() -> None:
    with HostileServer({"/": plain("200 OK", body=b"x" * 10**6)}) as server:
        assert len(fetch(f"{server.address}/", FetchPolicy(10, 10**6, private_addresses=True))) == 10**6


def test_a_body_that_was_cut_off_is_a_lost_connection() -> None:
    assert failure(sent(OK, b"Content-Length: 9\r\n\r\nhello")) == "connection lost: 5 of 9 bytes arrived"


def test_endless_headers_and_answers_that_are_no_http() -> None:
    assert failure(endless(OK + b"X: ")).startswith("bad answer: got more than")
    assert failure(sent(b"SSH-2.0-OpenSSH\r\n")).startswith("bad answer: SSH-2.0")
    assert failure(sent(b"")).startswith("connection lost: Remote end closed")


def test_transient_failures_are_tried_again_and_no_others() -> None:
    policy = FetchPolicy(5, 10**6, retries=1, private_addresses=True)
    busy, gone = plain("503 Service Unavailable"), plain("404 Not Found")
    answers = {"/busy": in_turn(busy, plain("200 OK", body=b"x")), "/gone": gone, "/down": busy}
    with HostileServer(answers) as server:
        assert fetch(f"{server.address}/busy", policy) == b"x"
        with pytest.raises(FetchError, match=r"^http 404: Not Found$"):
            fetch(f"{server.address}/gone", policy)
        with pytest.raises(FetchError, match=r"^http 503: Service Unavailable$"):
            fetch(f"{server.address}/down", policy)
        assert server.requests == {"/busy": 2, "/gone": 1, "/down": 2}


def test_the_body_of_an_error_is_not_read() -> None:
    dripping = dripped(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    assert failure(dripping, dataclasses.replace(POLICY, image_seconds=60)) == "http 500: Internal Server Error"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("172.31.255.255", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("2001:4860:4860::8888", True),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("::127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_private_addresses_are_refused_after_the_name_is_resolved() -> None:
    with HostileServer({"/": plain("200 OK", body=b"secret")}) as server:
        for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0"):
            with pytest.raises(FetchError, match=r"^private address: .*; see download\.private_addresses"):
                fetch(f"http://{host}:{server.port}/", FetchPolicy(5, 10**6))
        assert not server.requests


def test_a_name_with_public_and_private_addresses_is_only_reached_at_the_public_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    class Recorded(_Socket):
        def connect(self, place: Any) -> None:
            asked.append(place[0])
            raise ConnectionRefusedError

    monkeypatch.setattr("clipn.data.download.policy._Socket", Recorded)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("10.0.0.1", "8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchError, match="no connection"):
        fetch("http://mixed.example/", FetchPolicy(5, 10**6))
    assert asked == ["8.8.8.8"]


def test_the_own_server_may_be_asked_for_but_not_redirected_to() -> None:
    with HostileServer({"/file": plain("200 OK", body=b"own")}) as own:
        policy = FetchPolicy(5, 10**6, own_server=f"127.0.0.1:{own.port}")
        assert fetch(f"{own.address}/file", policy) == b"own"
        own.answers["/away"] = plain("302 Found", f"Location: {own.address}/file")
        with pytest.raises(FetchError, match=r"private address: 127\.0\.0\.1"):
            fetch(f"{own.address}/away", policy)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,x"])
def test_http_only(target: str) -> None:
    with pytest.raises(FetchError, match="bad address: unknown url type"):
        fetch(target)
    assert failure(plain("302 Found", f"Location: {target}")).startswith(("http 302", "bad address: unknown url type"))


@pytest.mark.parametrize(
    "address", ["http://", "http://[::1", "http://x:port/", "http://a b/", f"http://{'a' * 70}.x/"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(FetchError, match=r"bad address|unknown host"):
        fetch(address)


def test_a_proxy_is_allowed_but_not_to_lead_to_bare_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer({"http://far.example/a": plain("200 OK", body=b"x")}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert fetch("http://far.example/a", FetchPolicy(5, 10**6)) == b"x"
        for host in ("10.0.0.1", "localhost", "[::1]"):
            with pytest.raises(FetchError, match="private address"):
                fetch(f"http://{host}/a", FetchPolicy(5, 10**6))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def over_tls(certificate: Path, answer: Callable[[ssl.SSLSocket], None]) -> str:
    """The address of a TLS server that answers one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as client:
            try:
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(2**16)
                    answer(secured)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return f"https://127.0.0.1:{listener.getsockname()[1]}/"


def test_tls_has_the_same_deadline(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(client: ssl.SSLSocket) -> None:
        client.sendall(OK + b"\r\n")
        while True:
            client.sendall(b"x")
            time.sleep(0.05)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert"))
    with pytest.raises(FetchError, match=r"timeout: not complete after 0\.6 s"):
        fetch(over_tls(certificate, drip))
    good = over_tls(certificate, lambda client: client.sendall(OK + b"Content-Length: 2\r\n\r\nhi"))
    assert fetch(good) == b"hi"


def test_tls_certificates_are_checked(certificate: Path) -> None:
    with pytest.raises(FetchError, match=r"tls: .*certificate"):
        fetch(over_tls(certificate, lambda client: None))


def test_network_seconds_are_added_up() -> None:
    with HostileServer({"/": plain("200 OK", body=b"x")}) as server:
        opener = PolicyOpener(POLICY)
        opener.open(f"{server.address}/", timeout=5)
        first = opener.network_seconds
        opener.open(f"{server.address}/", timeout=5)
        assert 0 < first < opener.network_seconds


def test_http_client_still_has_what_the_policy_replaces() -> None:
    """A private attribute that its connect() calls; without it nothing would be checked."""
    assert http.client.HTTPConnection("x")._create_connection is socket.create_connection  # type: ignore[attr-defined]
