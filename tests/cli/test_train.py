"""`clipn train` as a user meets it. That an interrupted run goes on is tested with the training itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from clipn.cli import main, train
from clipn.models.no_encoder import WEIGHTS, read_config
from clipn.training import step_log

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def options(training_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What keeps a run in the project's folder from writing there."""
    monkeypatch.chdir(training_project)
    return ["--device", "cpu", "--out", str(tmp_path / "model"), "--work", str(tmp_path / "work")]


def test_makes_a_model_and_shows_progress(options: list[str], tmp_path: Path, capsys: Capture) -> None:
    main.main(["train", "3", *options])
    assert (tmp_path / "model" / WEIGHTS).is_file()
    assert read_config(tmp_path / "model").seed == 3
    assert len(step_log.read(tmp_path / "work/steps.csv")) == 24
    out, err = capsys.readouterr()
    assert out == ""
    for step in (5, 10, 15, 20, 24):
        assert f"step {step}: AUROC " in err
    assert "24/24" in err


def test_quiet_prints_nothing(options: list[str], capsys: Capture) -> None:
    main.main(["train", "0", "--quiet", *options])
    assert capsys.readouterr() == ("", "")


def test_paths_follow_the_seed(
    training_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for name in ("data", "params.yaml"):
        (tmp_path / name).symlink_to(training_project / name)
    monkeypatch.chdir(tmp_path)
    jobs = []
    monkeypatch.setattr("clipn.training.run.run", lambda job, group, **_: jobs.append(job))
    main.main(["train", "7", "--device", "cpu", "--checkpoint-seconds", "2.5"])
    (job,) = jobs
    assert job.out == Path("models/clipn/seed-7")
    assert job.work == Path("data/work/train/seed-7")
    assert job.backbone == Path("data/backbone")
    assert job.features == Path("data/features/train")
    assert (job.seed, job.checkpoint_seconds, job.params.epochs) == (7, 2.5, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0", "--params", "nothing.yaml"], "nothing.yaml does not exist"),
        (["0", "--features", "nothing"], "nothing"),
        (["0", "--device", "nothing"], "there is no device 'nothing'"),
    ],
)
def test_mistakes_end_with_a_message(
    options: list[str], arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    with pytest.raises(SystemExit, match=message) as end:
        main.main(["train", *options, *arguments])
    assert str(end.value).startswith("error: ")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("seed", ["first", "-1"])
def test_a_seed_is_a_number(seed: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["train", "--", seed])
    assert end.value.code == 2
    assert "Invalid value for 'seed'" in capsys.readouterr().err


def test_a_stopped_run_keeps_its_checkpoint_and_ends_with_130(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    @contextmanager
    def signalled(stop: threading.Event) -> Iterator[None]:
        stop.set()
        yield

    monkeypatch.setattr(train, "_stop_on_signals", signalled)
    with pytest.raises(SystemExit) as end:
        main.main(["train", "0", "--quiet", *options])
    assert end.value.code == 130
    assert "stopped after step 1 of 24" in capsys.readouterr().err
    assert list((tmp_path / "work/checkpoints").glob("step-*"))
    assert not (tmp_path / "model").exists()


def test_the_first_signal_stops_and_the_second_one_ends() -> None:
    stop = threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    with train._stop_on_signals(stop):
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_ends_with_its_parent(options: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clipn", "train", "0", "--quiet", "--end-with-parent", *options]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert result.returncode == 130
    assert "of 24" in result.stderr
    assert not (tmp_path / "model").exists()


def test_too_little_memory_names_the_parameter(
    options: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*args: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr("clipn.models.no_encoder.NoTextEncoder.forward", encode)
    with pytest.raises(SystemExit, match=r"^error: not enough memory; lower train\.batch_size, which is 16: CUDA out"):
        main.main(["train", "0", *options])
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
