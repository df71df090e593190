"""`clipn sets` as a user meets it, with right and wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from clipn.cli import main
from clipn.data.sets.registry import Registered, registry
from tests import registry_server

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPN_IMAGENET", raising=False)
    monkeypatch.delenv("CLIPN_THINGS", raising=False)

    def build(*arguments: str) -> str:
        main.main(["sets", *arguments])
        return capsys.readouterr().out

    return build


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Registered]]:
    with registry_server.serve(tmp_path / "www", monkeypatch) as found:
        yield found


def failure(run: Run, *arguments: str) -> str:
    with pytest.raises(SystemExit) as error:
        run(*arguments)
    return str(error.value)


def test_list_shows_all_sets_and_their_terms(run: Run) -> None:
    out = run("list")
    for name in registry():
        assert f" {name} " in out
    assert f"{len(registry())} sets" in out
    assert "Addresses and checksums of sets that have to be fetched were not tried by us" in out


def test_list_of_some_as_json_has_every_fact(run: Run) -> None:
    rows = json.loads(run("list", "imagenet", "cifar10", "digits", "--format", "json"))
    assert [(row["name"], row["state"]) for row in rows] == [
        ("imagenet", "missing"),
        ("cifar10", "fetchable"),
        ("digits", "checked"),
    ]
    assert rows[1]["bytes"] == 170052171
    assert rows[1]["files"][0]["md5"] == "c32a1d4ab5d03f1284b67883e8d87530"
    assert rows[1]["evidence"]


def test_fetch_check_and_list(run: Run, sets: dict[str, Registered]) -> None:
    assert run("fetch", "plain", "listed").splitlines() == [
        "plain: data/archives/plain.tar, 0.0 MB",
        "listed: data/archives/flowers.tgz, data/archives/lists.tar, data/archives/labels.mat, 0.0 MB",
    ]
    assert "here " in run("list", "plain")
    assert run("check", "plain", "listed", "--decode").splitlines() == [
        "plain: 2 images, 2 classes, as registered",
        "listed: 2 images, 2 classes, as registered",
    ]
    assert "here, checked" in run("list", "plain")


def test_one_that_fails_does_not_stop_the_others(
    run: Run, sets: dict[str, Registered], capsys: pytest.CaptureFixture[str]
) -> None:
    message = failure(run, "fetch", "gone", "plain", "licensed")
    assert capsys.readouterr().out == "plain: data/archives/plain.tar, 0.0 MB\n"
    assert "error: gone: could not fetch http://127.0.0.1" in message
    assert "put it at data/archives/gone.tar" in message
    assert "licensed: Things cannot be fetched (free). Ask for it. The environment variable is CLIPN_THINGS" in message
    assert "clipn profile NAME --sets obtainable" in message


def test_a_check_that_finds_differences_fails_with_them(
    run: Run, sets: dict[str, Registered], capsys: pytest.CaptureFixture[str]
) -> None:
    run("fetch", "more", "plain")
    message = failure(run, "check", "more", "plain", "--format", "json")
    assert "more: 2 images, 2 classes; 2 problem(s): 2 images, but the registry says 3" in message
    results = json.loads(capsys.readouterr().out)
    assert list(results) == ["more", "plain"]
    assert results["more"]["problems"]
    assert results["plain"]["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "mnist"], "no registered set 'mnist'; known: cifar10"),
        (["fetch"], "name a set ('clipn sets list' shows them) or give --benchmark NAME"),
        (["fetch", "cifar10", "mnist"], "no registered set 'mnist'"),
        (["fetch", "--benchmark", "mnist"], "no benchmark 'mnist'; known: imagenet"),
        (["check", "cifar10"], "cifar10.tar.gz does not exist; run 'clipn sets fetch cifar10'"),
        (["check", "imagenet"], "The environment variable is CLIPN_IMAGENET; it is not set"),
        (["available", "mnist"], "no benchmark 'mnist'"),
        (["benchmark", "mnist"], "no benchmark 'mnist'"),
    ],
)
def test_mistakes_end_with_a_message(run: Run, arguments: list[str], message: str) -> None:
    found = failure(run, *arguments)
    assert found.startswith("error: ")
    assert message.replace("cifar10.tar.gz", "cifar-10-binary.tar.gz") in found
    assert not Path("data").exists()


def test_what_ships_with_a_package_needs_no_fetch(run: Run) -> None:
    assert run("fetch", "digits") == "digits: ships with a package; nothing to fetch\n"


def test_available_says_what_is_missing_and_how_to_get_it(run: Run) -> None:
    out = run("available", "imagenet")
    assert "sun (26% ID)" in out
    assert "CLIPN_IMAGENET has to name a folder: Obtain ILSVRC2012_img_val.tar" in out
    assert "'clipn sets fetch --benchmark NAME'" in out
    assert "About 26 % of SUN and 60 % of Places" in out
    rows = json.loads(run("available", "imagenet", "cifar10", "--format", "json"))
    assert rows[0]["states"]["imagenet"] == "missing"
    assert rows[1]["states"] == dict.fromkeys(
        ["cifar10", "cifar100", "lsun_resize", "imagenet_resize", "cifar10_train"], "fetchable"
    )


def test_a_benchmark_is_printed_as_a_profile_gets_it(run: Run) -> None:
    text = run("benchmark", "cifar10_far")
    assert text.startswith("# @package _global_\n")
    assert yaml.safe_load(text)["benchmarks"]["cifar10_far"]["id"] == "cifar10"
