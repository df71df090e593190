"""Training in processes of its own: what it says on failing, and that none is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipn.errors import ClipnError
from flows.training.trainer import started
from tests.conftest import ROOT
from tests.waiting import wait_until

PARENT = """
import sys, time
from flows.training.trainer import started

with started(sys.argv[2:], int(sys.argv[1]), cores=2, device="cpu") as trainer:
    while trainer.running():
        time.sleep(0.05)
"""


def arguments(folder: Path) -> list[str]:
    return ["0", "--work", str(folder / "work"), "--out", str(folder / "model")]


def wait_for_steps(folder: Path, count: int) -> None:
    log = folder / "work/steps.csv"
    wait_until(lambda: log.is_file() and len(log.read_text().splitlines()) > count, 90, f"{count} steps")


def trainers(folder: Path) -> list[int]:
    """Processes whose command names `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if str(folder / "model").encode() in words and b"clipn" in words:
            found.append(int(path.parent.name))
    return found


def test_failure_is_told_in_the_command_s_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with started(arguments(tmp_path), 1, cores=2, device="cpu") as trainer:
        while trainer.running():
            time.sleep(0.05)
        with pytest.raises(
            ClipnError, match=r"^training failed: params\.yaml does not exist; run in the project's root"
        ):
            trainer.check()


def test_an_error_in_the_flow_stops_training_with_a_checkpoint(
    training_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(training_project)

    def interrupted() -> None:
        with started(arguments(tmp_path), 1, cores=2, device="cpu"):
            wait_for_steps(tmp_path, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not trainers(tmp_path)
    assert len(list((tmp_path / "work/checkpoints").iterdir())) == 1
    with started(arguments(tmp_path), 1, cores=2, device="cpu") as trainer:
        trainer.check()
    assert (tmp_path / "model/no_encoder.safetensors").is_file()


@pytest.mark.parametrize("processes", [1, 2])
def test_killing_the_flow_ends_training(training_project: Path, tmp_path: Path, processes: int) -> None:
    params = (training_project / "params.yaml").read_text().replace("epochs: 2\n", "epochs: 1000\n")
    (tmp_path / "params.yaml").write_text(params)
    words = [*arguments(tmp_path), "--params", str(tmp_path / "params.yaml")]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(processes), *words],
        cwd=training_project,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        wait_for_steps(tmp_path, 2)
        assert len(trainers(tmp_path)) >= processes
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not trainers(tmp_path), what="the processes to end")
    assert list((tmp_path / "work/checkpoints").glob("step-*"))
