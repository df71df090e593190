from __future__ import annotations

from pathlib import Path

import pytest

from clipn.data.captions.folder import find_images
from clipn.errors import InvalidData, MissingInput
from tests.data.captions.test_webdataset import image, prepare


def test_a_folder_of_images_with_captions_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("b.jpg", "deep/a.PNG", "alone.jpg", "blank.jpg", ".hidden/c.jpg"):
        (folder / name).write_bytes(image(0))
    (folder / "b.txt").write_text("\ufeffa bee\n", encoding="utf-8")
    (folder / "deep/a.txt").write_text("an ant")
    (folder / "blank.txt").write_text("\n")
    (folder / ".hidden/c.txt").write_text("hidden")
    report, rows = prepare("folder", folder)
    assert [(row["url"], row["caption"]) for row in rows] == [
        (str(folder / "b.jpg"), "a bee"),
        (str(folder / "deep/a.PNG"), "an ant"),
    ]
    assert report["counts"] == {"in": 4, "out": 2, "dropped": {"without_caption": 1, "empty": 1}}
    (folder / "b.txt").unlink()
    (folder / "deep/a.txt").unlink()
    with pytest.raises(InvalidData, match=r"no image in .* has a caption .*3 without caption, 1 empty"):
        prepare("folder", folder)


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"nowhere is no folder"):
        prepare("folder", tmp_path / "nowhere")
    (tmp_path / "tars").mkdir()
    with pytest.raises(MissingInput, match=r"tars has no image \(\.bmp"):
        prepare("folder", tmp_path / "tars")


def test_a_limit_counts_pairs(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(image(0))
        (folder / f"{name}.txt").write_text(name)
    (folder / "a.txt").unlink()
    report, rows = prepare("folder", folder, limit=1)
    assert [row["caption"] for row in rows] == ["b"]
    assert report["counts"] == {"in": 3, "out": 1, "dropped": {"without_caption": 1, "over_limit": 1}}
    assert find_images(folder) == [folder / f"{name}.jpg" for name in "abc"]
