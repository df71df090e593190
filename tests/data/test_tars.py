from __future__ import annotations

import io
import subprocess
import sys
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


@pytest.mark.parametrize("names", [("0.png", "0.png"), ("0.png", "0.PNG")])
def test_a_file_that_appears_twice_in_a_sample_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    path = members(tmp_path / "a.tar", *((name, b"x") for name in names))
    with pytest.raises(InvalidData, match=rf"a\.tar: the member '{names[1]}' appears twice"):
        list(tars.read(path))


def test_names_that_mean_something_to_webdataset_lose_no_sample(tmp_path: Path) -> None:
    names = ("0.__bad__", "0.__key__", "0.png", "__a__/1.png", "2.__url__", "2.png")
    read = list(tars.read(members(tmp_path / "a.tar", *((name, b"x") for name in names))))
    assert read == [("0", {"png": b"x"}), ("__a__/1", {"png": b"x"}), ("2", {"png": b"x"})]


def test_a_tar_that_is_a_compressed_file_too_is_read_as_a_tar(tmp_path: Path) -> None:
    """webdataset's own reader would unpack it, however large it became."""
    path = members(tmp_path / "a.tar", ("\x1f\x8b\x08.png", b"x"))
    assert [sample for _, sample in tars.read(path)] == [{"png": b"x"}]


def test_only_selected_members_are_read_but_all_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    names = [member.name for member in tars.read_members(tmp_path / "a.tar", select=lambda name: name.endswith(".txt"))]
    assert names == ["000.txt", "001.txt"]
    monkeypatch.setattr(tars, "MAX_MEMBER_BYTES", 511)
    with pytest.raises(InvalidData, match=r"000\.png has 1200 bytes, limit 511"):
        list(tars.read_members(tmp_path / "a.tar", select=lambda name: False))


def test_a_member_lies_where_it_says(tmp_path: Path) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    for member in tars.read_members(tmp_path / "a.tar"):
        assert data[member.offset : member.offset + len(member.content)] == member.content


def test_places_are_those_of_the_members(tmp_path: Path) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    places = list(tars.places(tmp_path / "a.tar", select=lambda name: not name.startswith("001")))
    assert [
        (key, {extension: data[place.offset : place.offset + place.size] for extension, place in of_key.items()})
        for key, of_key in places
    ] == [sample for sample in SAMPLES if sample[0] != "001"]


def test_steps_run_in_order_over_the_samples(tmp_path: Path) -> None:
    tars.write(tmp_path / "a.tar", SAMPLES)
    keys = tars.samples(tmp_path / "a.tar", tars.contents, lambda pairs: (key for key, _ in pairs))
    assert list(keys) == ["000", "001", "folder/002"]


def test_a_missing_end_mark_is_found_where_it_matters(tmp_path: Path) -> None:
    path = members(tmp_path / "a.tar", ("0.txt", b"x"), ("1.txt", b"x"))
    assert len(list(tars.samples(path, to_the_end=True))) == 2
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(InvalidData, match=r"a\.tar is cut off: it lacks a tar's end mark\. Fetch it again"):
        list(tars.samples(path, to_the_end=True))


def test_anything_with_a_name_can_be_grouped() -> None:
    assert list(tars.group([("a/0.jpg", 1), ("a/0.cls", 2), ("a/1.jpg", 3)], "here")) == [
        ("a/0", {"jpg": 1, "cls": 2}),
        ("a/1", {"jpg": 3}),
    ]


def test_samples_are_those_of_webdatasets_own_reader(tmp_path: Path) -> None:
    names = ("x/0.Seg.PNG", "x/0.jpg", "x/1.jpg", "y.0/1.jpg", "y.0/1.TXT")
    path = members(tmp_path / "a.tar", *((name, name.encode()) for name in names))
    theirs = webdataset.WebDataset(str(path), shardshuffle=False)
    assert list(tars.read(path)) == [
        (sample["__key__"], {name: data for name, data in sample.items() if not name.startswith("__")})
        for sample in theirs
    ]


def test_what_reads_no_tar_does_not_import_webdataset() -> None:
    modules = ("tars", "verified", "sets.prepare", "captions.prepare", "download.download")
    imports = ", ".join(["sys", "clipn", "clipn.config", *(f"clipn.data.{name}" for name in modules)])
    program = f"import {imports}; sys.exit('webdataset' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
