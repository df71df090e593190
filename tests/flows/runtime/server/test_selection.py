"""Which server is taken, and the server of one dvc command."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)
from prefect.states import Running

from clipn.errors import ClipnError
from clipn.utils.processes import alive, free_port
from flows.runtime.server import selection
from tests.waiting import wait_until


@flow(name="waiting", persist_result=False)
def waiting() -> None:
    """A flow for runs that never happen."""


def test_the_configured_server_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "answers", lambda url: True)
    assert selection.existing() == PREFECT_API_URL.value()
    with temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_API_PORT: 4300}):
        assert selection.existing() == "http://127.0.0.1:4300/api"


def test_a_configured_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = selection.loopback(free_port())
    with (
        temporary_settings({PREFECT_API_URL: silent}),
        pytest.raises(ClipnError, match=r"does not answer \(.*refused.*\); start it, or unset PREFECT_API_URL"),
        selection.selected(),
    ):
        pytest.fail("it was selected")


@pytest.mark.parametrize("ending", ["", "/", "/api/"])
def test_an_address_that_is_almost_right(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "answers", lambda url: url == "http://here:4200/api")
    with pytest.raises(ClipnError, match=r"is not the address of the API; that is http://here:4200/api$"):
        selection.require(f"http://here:4200{ending}")


class WithPassword(BaseHTTPRequestHandler):
    """As much of a Prefect API with a password as is asked before a stage starts."""

    def do_GET(self) -> None:
        known = self.path == "/api/health" or self.headers["Authorization"] == "Basic dTpw"  # u:p
        body = b"true" if known else b"{}"
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_behind_a_certificate_and_a_password(tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with ThreadingHTTPServer(("127.0.0.1", 0), WithPassword) as listener:
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{listener.server_port}/api"
        with pytest.raises(ClipnError, match=r"does not answer \(.*certificate verify failed"):
            selection.require(url)
        with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(tmp_path / "cert")}):
            with pytest.raises(ClipnError, match="asks for a password; PREFECT_API_AUTH_STRING has to be"):
                selection.require(url)
            with temporary_settings({PREFECT_API_AUTH_STRING: "u:p"}):
                selection.require(url)
        listener.shutdown()


def test_heartbeats_are_for_servers_that_stay() -> None:
    with selection.selected("http://127.0.0.1:1/api"):
        assert PREFECT_API_URL.value() == "http://127.0.0.1:1/api"
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    with selection.selected():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is not None


def test_only_running_runs_of_the_command_are_marked() -> None:
    ids = {}
    with get_client(sync_client=True) as client:
        for name, tag, state in (("dead", "mine", Running()), ("other", "theirs", Running()), ("new", "mine", None)):
            ids[name] = client.create_flow_run(waiting, name=name, tags=[tag], state=state).id
        selection.mark_crashed("mine")
        found = {name: client.read_flow_run(number).state_name for name, number in ids.items()}
    assert found == {"dead": "Crashed", "other": "Running", "new": "Pending"}


def test_an_own_server_is_replaced_when_it_died_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    before = set(psutil.Process().children(recursive=True))
    own = selection.Own(tmp_path / "server.log")
    try:
        first = own.url()
        own._process.kill()
        own._process.wait()
        second = own.url()
        assert second != first
        assert selection.answers(second)
    finally:
        own.stop()
    # Those of the server that was killed end by themselves.
    wait_until(lambda: not set(filter(alive, psutil.Process().children(recursive=True))) - before)
    assert not selection.answers(second)


def test_a_server_that_cannot_start_is_an_error_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    own = selection.Own(tmp_path / "server.log")
    with pytest.raises(ClipnError, match=r"the Prefect server did not start; .*server\.log says why"):
        own.url()
    assert (tmp_path / "server.log").stat().st_size
