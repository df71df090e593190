"""What `clipn detect` reads and prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clipn.cli import detection
from clipn.detector import Detection
from clipn.errors import InvalidData, MissingInput
from clipn.utils.files import write_json


def test_folders_are_searched_for_images_in_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a.png", "b/notes.txt", "empty/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    files = detection.image_files([tmp_path / "b", tmp_path / "a.png"])
    assert files == [tmp_path / "b/1.JPG", tmp_path / "b/2.png", tmp_path / "a.png"]
    with pytest.raises(InvalidData, match="empty holds no images"):
        detection.image_files([tmp_path / "empty"])
    with pytest.raises(MissingInput, match="nothing does not exist"):
        detection.image_files([tmp_path / "nothing"])


def test_the_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    assert [image.size for image in detection.open_all([tmp_path / "a.png"])] == [(3, 2)]
    (tmp_path / "b.png").write_bytes(b"hello")
    with pytest.raises(InvalidData, match=r"b\.png: not an image"):
        detection.open_all([tmp_path / "a.png", tmp_path / "b.png"])


def test_class_names_from_commas_or_lines(tmp_path: Path) -> None:
    assert detection.class_names("sun, snow cloud,,") == ["sun", "snow cloud"]
    (tmp_path / "names.txt").write_text("sun\n\ncloud, with rain\n", encoding="utf-8")
    assert detection.class_names(str(tmp_path / "names.txt")) == ["sun", "cloud, with rain"]
    many = [f"class {number}" for number in range(1000)]
    assert detection.class_names(",".join(many)) == many
    assert detection.class_names("Mr. Sun") == ["Mr. Sun"]


def test_a_file_of_class_names_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"nowhere\.txt does not exist; name a file with one class a line"):
        detection.class_names(str(tmp_path / "nowhere.txt"))
    (tmp_path / "sun.png").write_bytes(b"\x89PNG")
    with pytest.raises(InvalidData, match=r"sun\.png is no text in UTF-8"):
        detection.class_names(str(tmp_path / "sun.png"))


def test_class_names_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, classes in (("weather", ["sun"]), ("noise", [])):
        Path("data/sets", name).mkdir(parents=True)
        write_json(Path("data/sets", name, "classes.json"), classes)
    assert detection.set_classes("weather") == ["sun"]
    with pytest.raises(InvalidData, match="the set 'noise' has no classes; name them with --classes"):
        detection.set_classes("noise")
    with pytest.raises(MissingInput, match="nowhere"):
        detection.set_classes("nowhere")


def test_the_table_has_the_verdict_of_each_image(capsys: pytest.CaptureFixture[str]) -> None:
    rows = detection.rows(
        [Path("a"), Path("b")], [Detection("sun", 0.5, 2.0, True), Detection("sun", 0.25, 1.0, False)]
    )
    detection.show(rows, "table", score="MCM", n_classes=3)
    out = capsys.readouterr().out
    assert [word for word in out.split() if word in ("yes", "no")] == ["yes", "no"]
    assert "0.250" in out
    assert out.endswith("1 of 2 images belong to none of 3 classes\n")


def test_names_with_brackets_stand_in_the_table_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    rows = detection.rows([Path("a[red].png"), Path("[/b].png")], [Detection("[i]", 0.5, 2.0, True)] * 2)
    detection.show(rows, "table", score="MCM", n_classes=1)
    out = capsys.readouterr().out
    assert "a[red].png" in out
    assert "[/b].png" in out
    assert out.count("[i]") == 2
