"""Registered sets of every format fetched from loopback and checked, good and hostile ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipn.data.sets import archives
from clipn.data.sets.registry import Registered, registered
from clipn.errors import ClipnError, DownloadFailed, InvalidData, MissingInput
from tests import registry_server
from tests.registry_server import jpeg


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Registered]]:
    with registry_server.serve(tmp_path / "www", monkeypatch) as found:
        yield found


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("name", "counts", "fetched"),
    [
        ("plain", (2, 2), ["plain.tar"]),
        ("compressed", (2, 2), ["small.tar.gz"]),
        ("packed", (2, 2), ["packed.zip"]),
        ("cifar", (2, 1), ["cifar.tar.gz"]),
        ("stl10", (2, 2), ["stl10.tar.gz"]),
        ("svhn", (2, 2), ["digits.mat"]),
        ("listed", (2, 2), ["flowers.tgz", "labels.mat", "lists.tar"]),
        ("linked", (1, 1), ["linked.tar"]),
        ("unlabelled", (2, 0), ["plain.tar"]),
    ],
)
def test_a_set_is_fetched_checked_and_known_to_be_here(
    tmp_path: Path, sets: dict[str, Registered], name: str, counts: tuple[int, int], fetched: list[str]
) -> None:
    cache = tmp_path / "archives"
    assert archives.state(name, cache) == "fetchable"
    seen: list[tuple[int, int]] = []
    archives.fetch(sets[name], cache, lambda done, total: seen.append((done, total)))
    assert files(cache) == fetched
    assert seen[-1][0] == seen[-1][1] == sets[name].files[-1].bytes
    assert archives.state(name, cache) == "here"
    found = archives.check(name, cache, decode=True)
    assert ((found.images, found.classes), found.problems) == (counts, [])
    assert found.sha256 == {file.local: file.sha256 for file in sets[name].files}
    assert archives.state(name, cache) == "checked"
    (cache / fetched[0]).touch()
    os.utime(cache / fetched[0], ns=(1, 1))
    assert archives.state(name, cache) == "here"


def test_what_is_here_is_not_fetched_again(tmp_path: Path, sets: dict[str, Registered]) -> None:
    archives.fetch(sets["plain"], tmp_path / "archives")
    (tmp_path / "www" / "plain.tar").unlink()
    archives.fetch(sets["plain"], tmp_path / "archives")


def test_a_fetch_that_broke_off_is_continued(tmp_path: Path, sets: dict[str, Registered]) -> None:
    """The loopback server knows no ranges, so it sends all again; the checksum decides."""
    cache = tmp_path / "archives"
    cache.mkdir()
    (cache / ".plain.tar.partial").write_bytes(b"junk")
    archives.fetch(sets["plain"], cache)
    assert (cache / "plain.tar").read_bytes() == registry_server.CONTENTS["plain.tar"]
    assert files(cache) == ["plain.tar"]


def test_counts_that_differ_from_the_registry_are_problems(tmp_path: Path, sets: dict[str, Registered]) -> None:
    archives.fetch(sets["more"], tmp_path)
    found = archives.check("more", tmp_path)
    assert found.problems == ["2 images, but the registry says 3", "2 classes, but the registry says 5"]
    assert archives.state("more", tmp_path) == "here"


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("changed", DownloadFailed, "has the sha256 .* and not 0000"),
        ("larger", DownloadFailed, "it has .* bytes or more, limit 1000"),
        ("gone", DownloadFailed, "the server answered 404"),
        ("huge", MissingInput, r"gone\.tar needs 1000000000000000000 bytes more, but .* free; make room"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(
    tmp_path: Path, sets: dict[str, Registered], name: str, error: type[ClipnError], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        archives.fetch(sets[name], tmp_path / "archives")
    assert files(tmp_path / "archives") in ([], [".plain.tar.partial"])
    assert archives.state(name, tmp_path / "archives") == "fetchable"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("outside_tar", r"outside of its own folder: 'top/\.\./\.\./evil\.jpg'"),
        ("outside_zip", r"outside of its own folder: '\.\./evil\.jpg'"),
        ("bomb_tar", "unpacks to more than"),
        ("bomb_zip", "unpacks to more than"),
        ("cut", "is a damaged archive"),
    ],
)
def test_hostile_archives_are_refused_and_touch_nothing(
    tmp_path: Path, sets: dict[str, Registered], name: str, problem: str
) -> None:
    cache = tmp_path / "archives"
    archives.fetch(sets[name], cache)
    before = files(cache)
    with pytest.raises(InvalidData, match=problem):
        archives.check(name, cache)
    assert files(cache) == before
    assert not list(tmp_path.rglob("evil.jpg"))
    assert archives.state(name, cache) == "here"


def test_a_pickle_that_calls_itself_an_image_is_a_problem_and_nothing_more(
    tmp_path: Path, sets: dict[str, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archives.fetch(sets["pickle"], tmp_path / "archives")
    found = archives.check("pickle", tmp_path / "archives", decode=True)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("top/ant/1.jpg: not an image")
    assert not (tmp_path / "evil.jpg").exists()


def test_a_changed_archive_does_not_pass(tmp_path: Path, sets: dict[str, Registered]) -> None:
    archives.fetch(sets["plain"], tmp_path)
    (tmp_path / "plain.tar").write_bytes(b"other")
    with pytest.raises(DownloadFailed, match=r"plain\.tar is there already, but has the sha256"):
        archives.check("plain", tmp_path)


def test_a_set_that_is_not_here_cannot_be_checked(tmp_path: Path, sets: dict[str, Registered]) -> None:
    with pytest.raises(MissingInput, match=r"plain\.tar does not exist; run 'clipn sets fetch plain'"):
        archives.check("plain", tmp_path)


def test_a_licensed_set_says_what_to_do(
    tmp_path: Path, sets: dict[str, Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIPN_THINGS", raising=False)
    assert archives.state("licensed", tmp_path) == "missing"
    with pytest.raises(MissingInput, match=r"Things cannot be fetched \(free\)\. Ask for it\. .* CLIPN_THINGS; it is"):
        archives.fetch(sets["licensed"], tmp_path)
    monkeypatch.setenv("CLIPN_THINGS", str(tmp_path / "gone"))
    assert archives.state("licensed", tmp_path) == "missing"
    with pytest.raises(MissingInput, match="gone, which CLIPN_THINGS names, does not exist"):
        archives.check("licensed", tmp_path)
    (tmp_path / "mine" / "ant").mkdir(parents=True)
    (tmp_path / "mine" / "ant" / "1.jpg").write_bytes(jpeg())
    monkeypatch.setenv("CLIPN_THINGS", str(tmp_path / "mine"))
    assert archives.check("licensed", tmp_path).problems == [
        "1 images, but the registry says 2",
        "1 classes, but the registry says 2",
    ]


def test_what_ships_with_a_package_is_here() -> None:
    assert archives.state("digits") == "checked"
    assert registered("digits").verified


def test_a_damaged_receipt_is_no_receipt(tmp_path: Path, sets: dict[str, Registered]) -> None:
    archives.fetch(sets["plain"], tmp_path)
    for content in ("", "[]", json.dumps({"images": 2}), json.dumps({"other": 1})):
        (tmp_path / "plain.json").write_text(content)
        assert archives.state("plain", tmp_path) == "here"


def test_the_digits_are_as_many_as_the_registry_says(tmp_path: Path) -> None:
    assert archives.check("digits", tmp_path).problems == []
