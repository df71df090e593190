from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from clipn.data.sets import class_names
from clipn.errors import InvalidData, MissingInput


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
    with pytest.raises(MissingInput, match="gone does not exist; write folders, imagenet, imagenet_clean or a text"):
        class_names.from_file(tmp_path / "gone")


def test_imagenet_names_are_those_of_clip_and_its_descendants() -> None:
    names = class_names.resolve("imagenet", list(class_names.imagenet("imagenet")), [999])
    assert names == list(open_clip.IMAGENET_CLASSNAMES)
    assert class_names.resolve("imagenet", [], [0]) == names


def test_the_clean_names_differ_where_two_classes_have_one_name() -> None:
    usual, clean = class_names.imagenet("imagenet"), class_names.imagenet("imagenet_clean")
    assert len(set(usual.values())) == 998
    assert len(set(clean.values())) == 1000
    different = {name: (usual[name], clean[name]) for name in usual if usual[name] != clean[name]}
    assert different == {"n04008634": ("missile", "projectile"), "n04355933": ("sunglasses", "sunglass")}


def test_some_of_imagenets_folders_get_their_own_names() -> None:
    assert class_names.resolve("imagenet", ["n01443537", "n15075141"], [0, 1]) == ["goldfish", "toilet paper"]
    assert class_names.resolve("imagenet_clean", ["n04008634"], [0]) == ["projectile"]


def test_other_folders_have_no_imagenet_name() -> None:
    with pytest.raises(InvalidData, match=r"n01440764 to n15075141; 2 of 3 are none, the first is 'n00000000'"):
        class_names.check("imagenet", ["n01440764", "n00000000", "tench"])
