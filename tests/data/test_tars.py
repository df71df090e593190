from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from clipn.data import tars
from clipn.errors import InvalidData

SAMPLES = [
    ("000", {"png": b"\x89PNG" * 300, "txt": "ein Käfer".encode(), "json": b"{}"}),
    ("001", {"png": b"", "txt": b"x"}),
    ("folder/002", {"npy": b"1" * 512}),
]


def members(path: Path, *named: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in named:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_samples_come_back(tmp_path: Path) -> None:
    assert tars.write(tmp_path / "a.tar", iter(SAMPLES)) == 3
    assert list(tars.read(tmp_path / "a.tar")) == SAMPLES


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        tars.write(tmp_path / name, SAMPLES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_webdataset_reads_what_is_written(tmp_path: Path) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    read = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [(s["__key__"], {k: v for k, v in s.items() if not k.startswith("__")}) for s in read] == SAMPLES


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for key, sample in SAMPLES:
            writer.write({"__key__": key, **sample})
    read = list(tars.read(tmp_path / "a.tar"))
    assert [(key, dict(sorted(sample.items()))) for key, sample in read] == [
        (key, dict(sorted(sample.items()))) for key, sample in SAMPLES
    ]


def test_the_extension_starts_at_the_first_dot_and_is_lower_case(tmp_path: Path) -> None:
    path = members(tmp_path / "a.tar", ("x.y/0.Seg.PNG", b"1"), ("x.y/0.TXT", b"2"))
    assert list(tars.read(path)) == [("x.y/0", {"seg.png": b"1", "txt": b"2"})]


def test_members_that_are_no_files_are_skipped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        good = tarfile.TarInfo("0.txt")
        good.size = 1
        tar.addfile(good, io.BytesIO(b"x"))
    assert list(tars.read(tmp_path / "a.tar")) == [("0", {"txt": b"x"})]


def test_an_empty_tar_has_no_samples(tmp_path: Path) -> None:
    assert tars.write(tmp_path / "a.tar", []) == 0
    assert list(tars.read(tmp_path / "a.tar")) == []


def test_a_key_whose_members_are_not_adjacent_is_refused(tmp_path: Path) -> None:
    path = members(tmp_path / "a.tar", ("0.png", b"1"), ("1.png", b"2"), ("0.txt", b"3"))
    with pytest.raises(InvalidData, match=r"a\.tar: the key '0' appears twice"):
        list(tars.read(path))


def test_a_tar_cut_inside_a_member_is_refused(tmp_path: Path) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:800])
    with pytest.raises(InvalidData, match=r"a\.tar is a damaged tar"):
        list(tars.read(tmp_path / "a.tar"))


def test_a_tar_cut_between_members_reads_as_a_shorter_one(tmp_path: Path) -> None:
    """Why callers compare the number of samples with the manifest."""
    path = members(tmp_path / "a.tar", ("0.txt", b"x"), ("1.txt", b"x"))
    path.write_bytes(path.read_bytes()[:1024])  # a header and one block
    assert [key for key, _ in tars.read(path)] == ["0"]


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\x1f\x8b" + b"\0" * 600])
def test_files_that_are_no_tar_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InvalidData, match=r"a\.tar is a damaged tar"):
        list(tars.read(tmp_path / "a.tar"))


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"gone\.tar"):
        list(tars.read(tmp_path / "gone.tar"))


def test_a_member_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as handle:
        member = tarfile.TarInfo("0.png")
        member.size = tars.MAX_MEMBER_BYTES + 1
        handle.write(member.tobuf())
        handle.truncate(512 + member.size)  # sparse: takes no space
    with pytest.raises(InvalidData, match=r"0\.png has 268435457 bytes, limit 268435456"):
        list(tars.read(tmp_path / "a.tar"))
