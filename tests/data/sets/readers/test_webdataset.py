from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipn.data.sets.readers import Request
from clipn.data.sets.readers.webdataset import open_webdataset, shards
from clipn.errors import InvalidData, MissingInput
from tests.data.sets.readers.conftest import make_tar


def test_indices_over_several_shards(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    make_tar(folder / "1.tar", {"k3.jpg": b"c", "k3.cls": b"0\n"})
    make_tar(folder / "0.tar", {"k2.jpg": b"b", "k2.cls": b"7", "k1.JPG": b"a", "k1.mask.png": b"m", "k1.cls": b"4"})
    for path in (folder, folder / "*.tar"):
        with open_webdataset(make_request("webdataset", path)) as source:
            assert list(source.names) == ["0.tar/k1.JPG", "0.tar/k2.jpg", "1.tar/k3.jpg"]
            assert list(source.labels) == [4, 7, 0]
            assert list(source.classes) == []
            assert [source.read(i) for i in (2, 0, 1)] == [b"c", b"a", b"b"]


def test_names_from_json(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(
        tmp_path / "x.tar",
        {"1.png": b"", "1.json": b'{"label": "wasp"}', "2.png": b"", "2.json": b'{"label": "ant"}', "3.txt": b""},
    )
    with open_webdataset(make_request("webdataset", path)) as source:
        assert list(source.labels) == [1, 0]
        assert list(source.classes) == ["ant", "wasp"]


def test_without_labels_none_are_looked_for(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(tmp_path / "x.tar", {"1.png": b"", "1.cls": b"no number"})
    with open_webdataset(make_request("webdataset", path, labelled=False)) as source:
        assert list(source.labels) == [None]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"1.jpg": b""}, r"x\.tar/1\.jpg has no label"),
        ({"1.jpg": b"", "1.cls": b"ant"}, "its label cannot be read"),
        ({"1.jpg": b"", "1.cls": b"-1"}, "its label is -1"),
        ({"1.jpg": b"", "1.json": b"{"}, "its label cannot be read"),
        ({"1.jpg": b"", "1.json": b"[" * 100_000}, "its label cannot be read"),
        ({"1.jpg": b"", "1.json": b"[1]"}, "its label cannot be read"),
        ({"1.jpg": b"", "1.json": b"{}"}, "its label cannot be read"),
        ({"1.jpg": b"", "1.json": b'{"label": true}'}, "its label is True"),
        ({"1.jpg": b"", "1.json": b'{"label": 1.5}'}, "its label is 1.5"),
        ({"1.jpg": b"", "1.json": b'{"label": "\\ud800"}'}, "its label cannot be read"),
        ({"1.jpg": b"", "1.cls": b"1", "2.jpg": b"", "2.json": b'{"label": "ant"}'}, "use one kind"),
    ],
)
def test_bad_labels(
    tmp_path: Path, make_request: Callable[..., Request], members: dict[str, bytes], problem: str
) -> None:
    path = make_tar(tmp_path / "x.tar", members)
    with pytest.raises(InvalidData, match=problem), open_webdataset(make_request("webdataset", path)):
        pass


def test_no_shards(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "x.tar", tmp_path / "*.tar"):
        with pytest.raises(MissingInput, match="matches none"):
            shards(path)
