from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from clipn.data.sets.readers import Request
from clipn.data.sets.readers.svhn import open_svhn
from clipn.errors import InvalidData
from tests.data.sets.readers.conftest import pixels

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
LABELS = np.array([[10], [1], [9]], np.uint8)


def read(path: Path, make_request: Callable[..., Request]) -> Any:
    with open_svhn(make_request("svhn", path, registered="svhn")) as source:
        return source


def test_label_ten_is_the_digit_zero(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    savemat(tmp_path / "test.mat", {"X": IMAGES, "y": LABELS}, do_compression=True)
    source = read(tmp_path / "test.mat", make_request)
    assert list(source.labels) == [0, 1, 9]
    assert source.classes[0] == "digit zero"
    assert list(source.names) == ["test.mat/00000", "test.mat/00001", "test.mat/00002"]
    assert np.array_equal(pixels(source.read(2)), IMAGES[..., 2])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"y": LABELS}, "has to hold X"),
        ({"X": IMAGES[:16], "y": LABELS}, "has to hold X"),
        ({"X": IMAGES.astype(float), "y": LABELS}, "has to hold X"),
        ({"X": IMAGES, "y": LABELS[:2]}, r"y, N x 1; it has .*2, 1"),
        ({"X": IMAGES, "y": LABELS + 1}, "labels have to be 1 to 10"),
    ],
)
def test_other_content_is_refused(
    tmp_path: Path, make_request: Callable[..., Request], content: dict[str, Any], problem: str
) -> None:
    savemat(tmp_path / "test.mat", content)
    with pytest.raises(InvalidData, match=problem):
        read(tmp_path / "test.mat", make_request)


@pytest.mark.parametrize("content", [b"", b"<html>" * 100, bytes(1000), b"MATLAB 5.0 MAT-file".ljust(128)])
def test_what_is_no_matlab_file_is_refused(
    tmp_path: Path, make_request: Callable[..., Request], content: bytes
) -> None:
    (tmp_path / "test.mat").write_bytes(content)
    with pytest.raises(InvalidData, match=r"test\.mat"):
        read(tmp_path / "test.mat", make_request)
