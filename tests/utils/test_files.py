from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.utils.files import atomic_folder, atomic_path, read_json, sha256, write_json, write_text


def test_atomic_path_appears_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.tar.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".gz"
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_path_keeps_the_earlier_file_on_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("earlier")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_refuses_a_block_that_wrote_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_atomic_folder_replaces_the_earlier_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    for content in ("one", "two"):
        with atomic_folder(folder) as temporary:
            (temporary / content).mkdir()
            (temporary / content / "file").write_text(content)
    assert [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))] == ["two", "two/file"]
    assert folder.stat().st_mode & 0o777 == 0o755
    assert list(folder.parent.iterdir()) == [folder]


def test_atomic_folder_keeps_the_earlier_one_on_an_exception(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with atomic_folder(folder) as temporary:
        (temporary / "earlier").touch()

    def interrupted() -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in folder.iterdir()] == ["earlier"]
    assert list(tmp_path.iterdir()) == [folder]


def test_json_is_sorted_readable_and_comes_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"ü": True}}
    write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "a": {\n    "ü": true')
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_json_refuses_numbers_that_it_does_not_know(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_unreadable_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"gone\.json does not exist"):
        read_json(tmp_path / "gone.json")
    for data in (b"", b"{", b"\xff\xfe"):
        (tmp_path / "bad.json").write_bytes(data)
        with pytest.raises(InvalidData, match=r"bad\.json is not valid JSON"):
            read_json(tmp_path / "bad.json")


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "☃\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xe2\x98\x83\n"


def test_sha256_of_known_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    large = os.urandom(3 * 2**20)
    (tmp_path / "a").write_bytes(large)
    assert sha256(tmp_path / "a") == hashlib.sha256(large).hexdigest()
