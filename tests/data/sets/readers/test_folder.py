from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipn.data import tars
from clipn.data.sets.readers import Request
from clipn.data.sets.readers.folder import class_folders, open_folder
from clipn.errors import InvalidData, MissingInput
from tests.data.sets.readers.conftest import make_image


def fill(root: Path, *names: str) -> Path:
    for grey, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(make_image(grey))
    return root


def test_class_folders_hold_images_at_any_depth(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    root = fill(tmp_path / "set", "wasp/b.png", "wasp/deep/a.png", "ant/c.jpg", "ant/notes.txt", ".git/x.png")
    with open_folder(make_request("folder", root)) as source:
        assert list(source.names) == ["ant/c.jpg", "wasp/b.png", "wasp/deep/a.png"]
        assert list(source.labels) == [0, 1, 1]
        assert list(source.classes) == ["ant", "wasp"] == class_folders(root)
        assert source.read(1) == make_image(0)


def test_without_labels_images_may_lie_anywhere(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    root = fill(tmp_path / "set", "b.png", "x/a.png")
    with open_folder(make_request("folder", root, labelled=False)) as source:
        assert list(source.names) == ["b.png", "x/a.png"]
        assert list(source.labels) == [None, None]
        assert list(source.classes) == []


def test_class_folders_may_be_links_and_circles_do_no_harm(
    tmp_path: Path, make_request: Callable[..., Request]
) -> None:
    root = fill(tmp_path / "set", "ant/1.png")
    fill(tmp_path / "elsewhere", "2.png")
    (root / "bee").symlink_to(tmp_path / "elsewhere")
    (root / "ant" / "up").symlink_to(root)
    with open_folder(make_request("folder", root)) as source:
        assert list(source.names) == ["ant/1.png", "bee/2.png"]


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "ant/1.png", "docs/readme.txt")
    assert class_folders(root) == ["ant"]


def test_a_file_that_cannot_be_read_is_an_error_of_that_file(
    tmp_path: Path, make_request: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "set", "ant/1.png", "ant/2.png")
    (root / "ant" / "3.png").symlink_to("nowhere")
    with open_folder(make_request("folder", root)) as source:
        with pytest.raises(InvalidData, match="cannot be read: No such file"):
            source.read(2)
        monkeypatch.setattr(tars, "MAX_MEMBER_BYTES", 5)
        with pytest.raises(InvalidData, match="bytes, limit 5"):
            source.read(0)


def test_a_missing_folder(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    with (
        pytest.raises(MissingInput, match=r"gone is no folder.*CLASS/FILE"),
        open_folder(make_request("folder", tmp_path / "gone")),
    ):
        pass
