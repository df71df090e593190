from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipn.data import tars
from clipn.data.sets.readers import READERS, Request, Source
from clipn.data.sets.readers.stl10 import SIDE
from clipn.errors import InvalidData
from tests.data.sets.readers.conftest import make_tar, pixels

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
FILES = {
    "stl10_binary/class_names.txt": b"airplane\nbird\n",
    "stl10_binary/test_X.bin": IMAGES.transpose(0, 3, 2, 1).tobytes(),  # channel, column, row
    "stl10_binary/test_y.bin": bytes([2, 1, 2]),
    "stl10_binary/unlabeled_X.bin": bytes(200_000),
}


def read(tmp_path: Path, make_request: Callable[..., Request], changes: dict[str, bytes | None]) -> Source:
    files = {name: content for name, content in (FILES | changes).items() if content is not None}
    path = make_tar(tmp_path / "x.tar.gz", files, "w:gz")
    with READERS["stl10"](make_request("stl10", path, registered="stl10")) as source:
        return source


def test_test_images_are_turned_the_right_way(
    tmp_path: Path, make_request: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "MAX_MEMBER_BYTES", 100_000)  # the unlabelled images are beyond the real limit too
    source = read(tmp_path, make_request, {})
    assert (list(source.labels), list(source.classes)) == ([1, 0, 1], ["airplane", "bird"])
    assert list(source.names) == ["test_X.bin/00000", "test_X.bin/00001", "test_X.bin/00002"]
    assert np.array_equal(pixels(source.read(2)), IMAGES[2])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"stl10_binary/test_y.bin": None}, r"not the binary version of STL-10: it lacks test_y\.bin"),
        ({"stl10_binary/test_y.bin": b"\1\1"}, "82944 bytes, but the 2 labels call for 55296"),
        ({"stl10_binary/test_X.bin": b""}, "has 0 bytes"),
        ({"stl10_binary/test_y.bin": b"\1\2\3"}, "labels have to be 1 to 2"),
        ({"stl10_binary/test_y.bin": b"\0\1\1"}, "labels have to be 1 to 2"),
    ],
)
def test_other_archives_are_refused(
    tmp_path: Path, make_request: Callable[..., Request], changes: dict[str, bytes | None], problem: str
) -> None:
    with pytest.raises(InvalidData, match=problem):
        read(tmp_path, make_request, changes)
