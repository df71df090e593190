from __future__ import annotations

import pytest

from clipn.data.sets.readers.base import by_class_folder, is_image, readable
from clipn.errors import InvalidData


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/1.JPEG", True),
        ("1.png", True),
        ("a/readme.txt", False),
        ("a/._1.jpg", False),
        (".thumbs/1.jpg", False),
        ("__MACOSX/a/1.jpg", False),
        ("jpg", False),
    ],
)
def test_is_image(name: str, expected: bool) -> None:
    assert is_image(name) is expected


def test_readable() -> None:
    assert readable("Käfer/1.jpg") == "Käfer/1.jpg"
    assert readable("a\udcff.jpg") == "a\\xff.jpg"


def test_by_class_folder() -> None:
    names = ["zebra/1", "ant/x/2", "zebra/3"]
    assert by_class_folder(names, "here") == (["ant", "zebra"], [1, 0, 1])


def test_an_image_beside_the_class_folders_is_named() -> None:
    with pytest.raises(
        InvalidData, match=r"here: the image 'stray\.jpg' is in no class folder.*CLASS/FILE.*labelled: false"
    ):
        by_class_folder(["ant/1.jpg", "stray.jpg"], "here")
