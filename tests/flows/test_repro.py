"""The main job's own part: check first, do nothing when nothing changed, show the result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clipn.project import profiles
from flows import repro
from tests.conftest import ROOT

WORDS = ROOT / "clipn/prompts/word_lists/wordnet.tsv.xz"


def test_wrong_inputs_end_it_before_dvc_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overrides = ["captions.source=table", f"captions.path={tmp_path}/none.tsv", f"words.path={WORDS}"]
    profiles.write("miniature", tmp_path / "params.yaml", overrides)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("dvc was started"))
    with pytest.raises(SystemExit, match=r"error: 1 problem\(s\) found before any work:\n.*none\.tsv"):
        repro.main()


def test_up_to_date_only_after_dvc_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([*repro.DVC, "init", "--no-scm", "-q"], check=True)
    Path("dvc.yaml").write_text("stages: {hello: {cmd: echo hello > out.txt, outs: [out.txt]}}\n")
    assert not repro._up_to_date()
    subprocess.run([*repro.DVC, "repro", "-q"], check=True)
    assert repro._up_to_date()


def test_a_failing_stage_is_not_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    profiles.write("miniature", tmp_path / "params.yaml")
    (tmp_path / "clipn").symlink_to(ROOT / "clipn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repro", "--force"])
    subprocess.run([*repro.DVC, "init", "--no-scm", "-q"], check=True)
    Path("dvc.yaml").write_text("stages: {fails: {cmd: exit 3, outs: [out.txt]}}\n")
    with pytest.raises(SystemExit, match="dvc repro failed"):
        repro.main()
    assert "Report:" not in capsys.readouterr().out
