"""The stage graph in three files, the modules that hold its flows, and the command that runs one of them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import yaml

from flows.stages import STAGES
from tests.conftest import ROOT


def graph() -> dict[str, str]:
    """Stage → its command."""
    commands = {}
    for file in ROOT.glob("**/dvc.yaml"):
        if ".venv" not in file.parts:
            for name, stage in yaml.safe_load(file.read_text())["stages"].items():
                commands[name] = stage.get("do", stage)["cmd"]
    return commands


def test_every_stage_of_the_graph_has_a_flow_and_every_flow_a_stage() -> None:
    assert set(graph()) == set(STAGES)
    for name, command in graph().items():
        assert command.split()[:4] == ["python", "-m", "flows", name]
        assert import_module(f"flows.stages.{name}").run.name == name


def test_stages_of_the_other_files_run_in_the_project_s_root() -> None:
    for folder in ("sets", "study"):
        for name, stage in yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"].items():
            assert stage["do"]["wdir"] == "..", name


@pytest.mark.parametrize("words", [[], ["everything"], ["--help"]])
def test_an_unknown_stage_shows_which_there_are(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m flows STAGE [ARGUMENT …]; a stage is one of attack, backbone,")
