from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipn.data.sets.readers import Request
from clipn.data.sets.readers.tar import open_tar
from clipn.errors import InvalidData
from tests.data.sets.readers.conftest import make_image, make_tar

ONE = make_image(1)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["wasp/2.png", "ant/1.png"], ""),
        (["top/wasp/2.png", "top/ant/1.png", "readme.txt", "top/__MACOSX/x/1.png"], ""),
        (["dtd/images/wasp/2.png", "dtd/images/ant/1.png", "dtd/labels/x.png"], "dtd/images"),
    ],
    ids=["flat", "one folder around", "prefix"],
)
def test_class_folders(tmp_path: Path, make_request: Callable[..., Request], names: list[str], prefix: str) -> None:
    path = make_tar(tmp_path / "x.tgz", {name: (ONE if "ant" in name else b"") for name in names}, "w:gz")
    with open_tar(make_request("tar", path, prefix=prefix)) as source:
        assert list(source.classes) == ["ant", "wasp"]
        assert list(source.labels) == [0, 1]
        assert list(source.names) == [names[1], names[0]]
        assert source.read(0) == ONE


def test_without_labels(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(tmp_path / "x.tar", {"sun/images/b.jpg": b"b", "sun/images/a.jpg": b"a"})
    with open_tar(make_request("tar", path, labelled=False)) as source:
        assert list(source.names) == ["sun/images/a.jpg", "sun/images/b.jpg"]
        assert list(source.labels) == [None, None]


def test_one_class_alone_is_a_class(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(tmp_path / "x.tar", {"ant/1.png": ONE, "ant/2.png": ONE})
    with open_tar(make_request("tar", path)) as source:
        assert list(source.classes) == ["ant"]


def test_a_prefix_that_is_not_there(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(tmp_path / "x.tar", {"ant/1.png": ONE})
    with (
        pytest.raises(InvalidData, match=r"no image below 'dtd/images/'; its first is 'ant/1\.png'"),
        open_tar(make_request("tar", path, prefix="dtd/images")),
    ):
        pass
