"""DVCLive's and TensorBoard's files of a training run."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from clipn.training.step_log import Step
from flows.training import record
from flows.training.record import Events, Record


def step(number: int, auroc: float | None = None) -> Step:
    return Step(
        step=number,
        epoch=number // 4,
        loss_yes=1 / (number + 3),
        loss_no=0.7,
        loss_tso=1.99,
        loss=1.7,
        grad_norm=2.0,
        lr=3e-4,
        logit_scale=100.0,
        samples_per_second=1234.5678,
        auroc_ctw=auroc,
        auroc_atd=None if auroc is None else 1 - auroc,
    )


def write(folder: Path, steps: int, rows: list[Step], portion: int = 10_000) -> None:
    made = Record(folder, steps)
    for start in range(0, len(rows), portion):
        made.add(rows[start : start + portion])
    made.close()


def column(folder: Path, name: str) -> list[tuple[int, str]]:
    with (folder / f"plots/metrics/{name}.tsv").open(newline="") as handle:
        return [(int(row["step"]), row[name]) for row in csv.DictReader(handle, delimiter="\t")]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_record_is_metrics_and_their_curves_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "seed-0", 2, [step(0), step(1, auroc=0.25)])
    assert files(tmp_path) == [
        "seed-0/metrics.json",
        *sorted(f"seed-0/plots/metrics/{name}.tsv" for name in (*record.METRICS, *record.CHECKS)),
    ]
    assert (tmp_path / "seed-0/plots/metrics/loss_yes.tsv").read_text() == "step\tloss_yes\n0\t0.333333\n1\t0.25\n"
    assert column(tmp_path / "seed-0", "auroc_atd") == [(1, "0.75")]
    assert json.loads((tmp_path / "seed-0/metrics.json").read_text()) == {
        "step": 1,
        "epoch": 0,
        "loss_yes": 0.25,
        "loss_no": 0.7,
        "loss_tso": 1.99,
        "loss": 1.7,
        "grad_norm": 2.0,
        "lr": 0.0003,
        "logit_scale": 100.0,
        "samples_per_second": 1234.57,
        "auroc_ctw": 0.25,
        "auroc_atd": 0.75,
    }


@pytest.mark.parametrize(
    ("steps", "rows"), [(1, 1), (2, 2), (999, 999), (1000, 1000), (1001, 501), (1999, 1000), (2000, 668), (2998, 1000)]
)
def test_no_metric_has_more_than_a_thousand_rows(tmp_path: Path, steps: int, rows: int) -> None:
    write(tmp_path, steps, [step(number) for number in range(steps)])
    kept = [number for number, _ in column(tmp_path, "loss")]
    assert len(kept) == rows <= record.ROWS
    assert (kept[0], kept[-1]) == (0, steps - 1)
    assert len({b - a for a, b in pairwise(kept[:-1])}) <= 1


def test_every_look_at_the_check_is_kept(tmp_path: Path) -> None:
    rows = [step(number, auroc=0.5 if number % 7 == 3 else None) for number in range(2500)]
    write(tmp_path, 2500, rows)
    assert [number for number, _ in column(tmp_path, "auroc_ctw")] == list(range(3, 2500, 7))
    assert len(column(tmp_path, "loss")) < 1000


def test_the_last_step_of_a_run_that_ended_early_is_kept(tmp_path: Path) -> None:
    write(tmp_path, 100_000, [step(number, auroc=0.5 if number == 123 else None) for number in range(124)])
    assert [number for number, _ in column(tmp_path, "loss")] == [0, 101, 123]
    assert column(tmp_path, "auroc_ctw") == [(123, "0.5")]


def test_files_depend_on_the_steps_alone(tmp_path: Path) -> None:
    rows = [step(number, auroc=0.5 if number % 50 == 40 else None) for number in range(1234)]
    write(tmp_path / "a", 1234, rows)
    write(tmp_path / "b", 1234, rows, portion=17)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_earlier_record_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVCLIVE_RESUME", "1")
    write(tmp_path, 3, [step(number, auroc=0.5) for number in range(3)])
    (tmp_path / "dvc.yaml").write_text("stray")
    write(tmp_path, 2, [step(0)])
    assert [number for number, _ in column(tmp_path, "loss")] == [0]
    assert not {"dvc.yaml", "plots/metrics/auroc_ctw.tsv"} & set(files(tmp_path))


def test_git_is_left_alone_and_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something connects")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "a token")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    subprocess.run(["git", "init", "-q"], check=True)
    write(Path("reports/seed-0"), 1, [step(0)])
    listed = subprocess.run(["git", "status", "--short"], check=True, capture_output=True, text=True)
    assert listed.stdout == "?? reports/\n"
    assert not Path(".dvc").exists()


def test_event_files_hold_every_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for count in (5, 3):  # the second run replaces the first one's files
        events = Events.open(tmp_path / "tensorboard")
        assert events is not None
        events.add([step(number, auroc=0.5 if number == 2 else None) for number in range(count)])
        events.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {*record.METRICS, *record.CHECKS}
    assert [(event.step, event.value) for event in read.Scalars("loss_yes")] == [
        (number, pytest.approx(1 / (number + 3))) for number in range(3)
    ]
    assert [event.step for event in read.Scalars("auroc_ctw")] == [2]


def test_without_tensorboard_there_are_no_event_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert Events.open(tmp_path / "tensorboard") is None
    assert files(tmp_path) == []
