"""`clipn profile` and `clipn check` as a user meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clipn.cli import main
from tests.conftest import ROOT


def test_profiles_are_listed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "clipn").symlink_to(ROOT / "clipn")
    monkeypatch.chdir(tmp_path)
    main.main(["profile"])
    assert capsys.readouterr().out.split() == ["cc3m", "miniature", "quick", "smoke", "study"]
    main.main(["profile", "smoke", "train.epochs=7"])
    assert "epochs: 7" in (tmp_path / "params.yaml").read_text()
    main.main(["check"])
    assert "are fine" in capsys.readouterr().out


def test_a_profile_can_do_without_sets_that_only_a_user_can_obtain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "clipn").symlink_to(ROOT / "clipn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPN_IMAGENET", raising=False)
    main.main(["profile", "cc3m"])
    with pytest.raises(SystemExit, match=r"sets\.imagenet: .*clipn profile NAME --sets obtainable"):
        main.main(["check"])
    main.main(["profile", "cc3m", "train.epochs=7", "--sets", "obtainable"])
    out = capsys.readouterr().out
    assert "left out: imagenet (set CLIPN_IMAGENET to the folder of ImageNet-1K, validation images)" in out
    assert "clipn profile cc3m train.epochs=7 ~sets.imagenet" in (tmp_path / "params.yaml").read_text()
    main.main(["check"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile", "huge"], "unknown profile 'huge'"),
        (["profile", "smoke", "train.speed=1"], "no key 'speed'"),
        (["profile", "smoke", "train.epochs=0"], "train.epochs"),
        (["profile", "cc3m", "--sets", "present"], "no benchmark is left: imagenet needs you to set CLIPN_IMAGENET"),
    ],
)
def test_mistakes_end_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        main.main(arguments)
    assert str(error.value).startswith("error: ")
    assert message in str(error.value)
    assert not (tmp_path / "params.yaml").exists()


def test_check_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"params\.yaml does not exist"):
        main.main(["check"])


def test_without_hydra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "hydra", None)
    with pytest.raises(SystemExit, match=r"Hydra, .*, is not installed: pip install 'clipn\[pipeline\]'"):
        main.main(["profile", "smoke"])
