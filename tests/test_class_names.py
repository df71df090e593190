from __future__ import annotations

from pathlib import Path

import pytest

from clipn import class_names
from clipn.errors import InvalidData, MissingInput

WNIDS = [f"n{i:08d}" for i in range(1000)]


def names_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    return str(tmp_path / "names.txt")


def test_folders_are_names_with_spaces() -> None:
    assert class_names.resolve("folders", ["hot_dog", "ant"], [0, 1]) == ["hot dog", "ant"]


def test_numbers_alone_are_no_names() -> None:
    with pytest.raises(InvalidData, match="labels are numbers here; set class_names"):
        class_names.resolve("folders", [], [0, 1])


def test_a_file_gives_names_in_order(tmp_path: Path) -> None:
    spec = names_file(tmp_path, "  ant \nhoney bee\r\n\n")
    assert class_names.resolve(spec, ["n1", "n2"], [0, 1]) == ["ant", "honey bee"]
    assert class_names.resolve(spec, [], [1]) == ["ant", "honey bee"]


def test_a_file_has_to_fit(tmp_path: Path) -> None:
    spec = names_file(tmp_path, "ant\nbee\n")
    with pytest.raises(InvalidData, match=r"names\.txt has 2 names for 3 classes; .* the first for 'n1'"):
        class_names.resolve(spec, ["n1", "n2", "n3"], [0])
    with pytest.raises(InvalidData, match=r"names\.txt has 2 names, but there is a label 2"):
        class_names.resolve(spec, [], [0, 2])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"line 2 of .* is blank"):
        class_names.from_file(Path(names_file(tmp_path, "ant\n \nbee\n")))
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(InvalidData, match="not UTF-8"):
        class_names.from_file(tmp_path / "latin")
    with pytest.raises(MissingInput, match="gone does not exist; write 'folders', 'imagenet'"):
        class_names.from_file(tmp_path / "gone")


def test_imagenet() -> None:
    names = class_names.resolve("imagenet", WNIDS, [999])
    assert (len(names), names[0], names[207], names[999]) == (1000, "tench", "Golden Retriever", "toilet paper")
    assert class_names.resolve("imagenet", [], [0]) == names


@pytest.mark.parametrize("classes", [WNIDS[:-1], [*WNIDS[:-1], "tench"]])
def test_imagenet_names_go_with_all_its_folders_only(classes: list[str]) -> None:
    with pytest.raises(InvalidData, match=r"takes the 1,000 folders .* the first 'n00000000'"):
        class_names.check("imagenet", classes)
