from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from clipn.data import tars
from clipn.data.sets.readers import archive
from clipn.errors import InvalidData, MissingInput
from tests.data.sets.readers.conftest import make_tar, make_zip

FILES = {"b/2": b"two", "a/1": b"one", "a-c/3": b"three", "./d/4": b"four"}


def make(kind: str, path: Path, members: dict[str, bytes]) -> Path:
    return make_zip(path, members) if kind == "zip" else make_tar(path, members, kind)


def names_of(path: Path) -> list[str]:
    with archive.opened(path, path.parent) as content:
        return list(content.names)


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
def test_files_are_sorted_by_folder_and_read_in_any_order(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path / "any name at all", FILES)
    with archive.opened(path, tmp_path) as content:
        assert content.names == ["a/1", "a-c/3", "b/2", "d/4"]
        assert [content.read(name) for name in ("d/4", "a/1", "b/2", "a/1")] == [b"four", b"one", b"two", b"one"]
    assert [p.name for p in tmp_path.iterdir()] == ["any name at all"]


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "..\\x.jpg", "C:/x.jpg"])
def test_a_member_outside_of_its_folder_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = make(kind, tmp_path / "bad", {"a/1": b"one", name: b"x"})
    with pytest.raises(InvalidData, match=r"bad has a member outside of its own folder"):
        names_of(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_of_a_tar_are_skipped(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("a/0.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
        tar.addfile(tarfile.TarInfo("a/1.jpg"))
    assert names_of(path) == ["a/1.jpg"]


def test_links_of_a_zip_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as container:
        link = zipfile.ZipInfo("a/0.jpg")
        link.external_attr = 0o120777 << 16
        container.writestr(link, "/etc/passwd")
        container.writestr("a/1.jpg", b"")
    assert names_of(path) == ["a/1.jpg"]


@pytest.mark.parametrize("kind", ["w", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_appears_twice_is_refused(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path / "x", {"a/1": b"one", "./a/1": b"two"})
    with pytest.raises(InvalidData, match="the member 'a/1' twice"):
        names_of(path)


@pytest.mark.parametrize("kind", ["w", "zip"])
def test_limits_of_size_and_number(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(kind, tmp_path / "x", FILES)
    with monkeypatch.context() as patch, archive.opened(path, tmp_path) as content:
        patch.setattr(tars, "MAX_MEMBER_BYTES", 4)
        assert content.read("b/2") == b"two"  # what nobody reads may be as large as it likes
        with pytest.raises(InvalidData, match="the file has 5 bytes, limit 4"):
            content.read("a-c/3")
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(InvalidData, match="more than 3 members"):
        names_of(path)


@pytest.mark.parametrize("kind", ["w:gz", "zip"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(kind, tmp_path / "x", {"a/1": bytes(2**20)})
    assert path.stat().st_size * archive.MAX_RATIO < 2**20
    assert names_of(path) == ["a/1"]  # small ones may shrink as they like
    monkeypatch.setattr(archive, "MIN_UNPACKED", 2**16)
    with pytest.raises(InvalidData, match="unpacks to more than 1"):
        names_of(path)
    monkeypatch.setattr(archive, "MIN_UNPACKED", 2**30)
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1000)
    with pytest.raises(InvalidData, match="unpacks to more than 1000 bytes"):
        names_of(path)


@pytest.mark.parametrize("cut", [512 + 100, 1024, 1024 + 200, 2048], ids=["content", "boundary", "header", "end mark"])
def test_a_tar_that_was_cut_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    whole = make_tar(tmp_path / "whole", {"a/1": b"1" * 512, "a/2": b"2" * 512}).read_bytes()
    (tmp_path / "cut").write_bytes(whole[:cut])
    with pytest.raises(InvalidData, match=r"cut is (cut off|a damaged archive).*Fetch it again"):
        names_of(tmp_path / "cut")


def test_a_tar_with_a_damaged_header_in_the_middle_is_refused(tmp_path: Path) -> None:
    data = bytearray(make_tar(tmp_path / "x", {"a/1": b"1" * 512, "a/2": b"2" * 512}).read_bytes())
    data[1024:1100] = b"\xff" * 76
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InvalidData, match="x is"):
        names_of(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        b"\x1f\x8bno gzip",
        gzip.compress(b"no tar", mtime=0),
        gzip.compress(bytes(5000), mtime=0)[:-9],
        b"PK\x03\x04no zip",
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InvalidData, match=r"x is a damaged archive"):
        names_of(tmp_path / "x")


def test_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"x\.tar does not exist"):
        names_of(tmp_path / "x.tar")


def test_one_damaged_member_of_a_zip_is_an_error_of_that_member_only(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as container:
        container.writestr("a/1", b"first content")
        container.writestr("a/2", b"other content")
    path.write_bytes(path.read_bytes().replace(b"first content", b"fXrst content"))
    with archive.opened(path, tmp_path) as content:
        assert content.read("a/2") == b"other content"
        with pytest.raises(InvalidData, match="a/1 is damaged"):
            content.read("a/1")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a/1": b"one"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidData, match="encrypted"):
        names_of(path)


def test_names_that_are_no_utf8_are_written_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", encoding="latin-1", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("caf\xe9/1.jpg")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    assert names_of(tmp_path / "x.tar") == ["caf\\xe9/1.jpg"]
