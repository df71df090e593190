from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clipn.data.download.server import LoopbackServer


def get(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def get_path(server: LoopbackServer, path: str) -> int:
    """Status of a request whose path is sent as it stands, with dots and all."""
    host = server.address(0).split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = ["a.png", "ü b#c?.JPG", "strange.b%20c", "gone.png"]
    for name in names[:3]:
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return [tmp_path / name for name in names]


def test_serves_the_listed_files_byte_for_byte(files: list[Path]) -> None:
    with LoopbackServer(files) as server:
        answers = [get(server.address(i)) for i in range(3)]
        addresses = [server.address(i).rsplit("/", 1)[1] for i in range(4)]
    assert answers == [(200, file.read_bytes()) for file in files[:3]]
    assert addresses == ["0.png", "1.jpg", "2", "3.png"]  # suffixes of images are kept, others are not


def test_counts_answers_by_status(files: list[Path]) -> None:
    with LoopbackServer(files, flaky=frozenset({1})) as server:
        for index in (0, 0, 1, 1, 3):
            get(server.address(index))
        assert server.requests == {200: 3, 503: 1, 404: 1}


def test_a_flaky_file_is_refused_exactly_once(files: list[Path]) -> None:
    with LoopbackServer(files, flaky=frozenset({1})) as server:
        assert [get(server.address(1))[0] for _ in range(3)] == [503, 200, 200]
        assert get(server.address(0))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/4.png", "/0", "/0.jpg", "/00.png", "/-1.png", "/a.png", "/../a.png", "/0.png/../../a.png"),
        *("/0.png?x=1", "/%30.png", "/../../../../etc/passwd", "/9999999999999999999.png"),
    ],
)
def test_anything_but_a_listed_address_is_not_found(files: list[Path], path: str) -> None:
    with LoopbackServer(files) as server:
        assert get_path(server, path) == 404


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for a writer
    (tmp_path / "folder.png").mkdir()
    with LoopbackServer([tmp_path / "pipe.png", tmp_path / "folder.png"]) as server:
        assert [get(server.address(i))[0] for i in range(2)] == [404, 404]


def test_listens_on_loopback_only_and_stops_with_the_context(files: list[Path]) -> None:
    with LoopbackServer(files) as server:
        address = server.address(0)
        assert address.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.URLError):
        get(address)


def test_many_clients_at_once_are_all_served(files: list[Path]) -> None:
    with LoopbackServer(files) as server, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: get(server.address(0)), range(500)))
        assert server.requests == {200: 500}
    assert set(answers) == {(200, files[0].read_bytes())}


def test_other_methods_are_refused(files: list[Path]) -> None:
    with LoopbackServer(files) as server:
        request = urllib.request.Request(server.address(0), data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(request, timeout=5)


def test_a_client_that_hangs_up_is_not_reported(files: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    files[0].write_bytes(b"x" * 2**24)
    with LoopbackServer(files) as server:
        with urllib.request.urlopen(server.address(0), timeout=5) as response:
            response.read(10)
        assert get(server.address(1))[0] == 200
    assert capfd.readouterr() == ("", "")
