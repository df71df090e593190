"""The log of training steps: exact values, growth, resumption, damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.training import step_log
from clipn.training.step_log import Position, Step, StepLog

FIRST = Step(
    step=0,
    epoch=0,
    loss_yes=0.1 + 0.2,
    loss_no=1 / 3,
    loss_tso=2.0,
    loss=1e-17,
    grad_norm=1.5,
    lr=3e-4,
    logit_scale=100.0,
    samples_per_second=12345.678,
    auroc_ctw=None,
    auroc_atd=None,
)


def step(number: int) -> Step:
    return replace(FIRST, step=number, epoch=number // 4)


def write(path: Path, count: int, start: int = 0) -> None:
    with StepLog(path, start) as log:
        for number in range(start, count):
            log.append(step(number))


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path: Path) -> None:
    looked = replace(step(1), auroc_ctw=2 / 3, auroc_atd=0.5)
    with StepLog(tmp_path / "work/steps.csv") as log:
        log.append(FIRST)
        log.append(looked)
    assert step_log.read(tmp_path / "work/steps.csv") == [FIRST, looked]


def test_the_file_is_a_plain_table(tmp_path: Path) -> None:
    with StepLog(tmp_path / "steps.csv") as log:
        log.append(replace(FIRST, loss_yes=0.5, loss_no=np.float64(0.25), loss=np.float32(0.75), samples_per_second=7))
    assert (tmp_path / "steps.csv").read_text() == (
        "step,epoch,loss_yes,loss_no,loss_tso,loss,grad_norm,lr,logit_scale,samples_per_second,auroc_ctw,auroc_atd\n"
        "0,0,0.5,0.25,2.0,0.75,1.5,0.0003,100.0,7.0,,\n"
    )


def test_a_row_can_be_read_as_soon_as_it_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    with StepLog(path) as log:
        assert step_log.read(path) == []
        log.append(FIRST)
        assert step_log.read(path) == [FIRST]


def test_a_resumed_run_goes_on_at_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 7)
    with path.open("a") as handle:
        handle.write("7,1,0.30")  # torn by the end of the process
    write(path, 9, start=5)
    assert [row.step for row in step_log.read(path)] == list(range(9))


def test_a_torn_line_at_the_checkpoint_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 3)
    with path.open("a") as handle:
        handle.write("3,0,0.30")
    write(path, 5, start=3)
    assert step_log.read(path) == [step(number) for number in range(5)]


def test_a_run_from_the_start_keeps_nothing_and_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    path.write_text("something else\n")
    write(path, 2)
    assert [row.step for row in step_log.read(path)] == [0, 1]


def test_a_resumed_run_without_its_log_starts_one(tmp_path: Path) -> None:
    write(tmp_path / "steps.csv", 6, start=4)
    assert [row.step for row in step_log.read(tmp_path / "steps.csv")] == [4, 5]


def test_tail_gives_each_complete_row_once(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    assert step_log.tail(path) == step_log.NewRows([], Position(), anew=False)
    write(path, 2)
    first = step_log.tail(path)
    assert (first.steps, first.anew) == ([step(0), step(1)], False)
    row = ",".join(path.read_text().splitlines()[-1].split(",")[1:])
    with path.open("a") as handle:
        handle.write(f"2,{row}\n3,{row[:9]}")
    second = step_log.tail(path, first.place)
    assert [row.step for row in second.steps] == [2]
    assert step_log.tail(path, second.place).steps == []
    with path.open("a") as handle:
        handle.write(f"{row[9:]}\n")
    assert [row.step for row in step_log.tail(path, second.place).steps] == [3]


def test_tail_starts_over_when_the_file_got_shorter(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 3)
    place = step_log.tail(path).place
    lines = path.read_text().splitlines(keepends=True)
    with path.open("r+") as handle:
        handle.write("".join(lines[:2]))
        handle.truncate()
    piece = step_log.tail(path, place)
    assert (piece.steps, piece.anew) == ([step(0)], True)
    assert not step_log.tail(path, piece.place).anew


def test_tail_starts_over_when_a_resumed_run_wrote_more_than_was_there(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 3)
    place = step_log.tail(path).place
    write(path, 8, start=1)
    piece = step_log.tail(path, place)
    assert ([row.step for row in piece.steps], piece.anew) == (list(range(8)), True)


def test_tail_starts_over_when_the_file_vanished(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 3)
    place = step_log.tail(path).place
    path.unlink()
    assert step_log.tail(path, place) == step_log.NewRows([], Position(), anew=True)


def test_from_the_end_on_only_another_log_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    assert step_log.end(path) == Position()
    write(path, 3)
    place = step_log.end(path)
    assert step_log.tail(path, place).steps == []
    write(path, 5, start=3)
    piece = step_log.tail(path, place)
    assert (len(piece.steps), piece.anew) == (5, True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: ["step,loss", *lines[1:]], "line 1 is 'step,loss'"),
        (lambda lines: [lines[0], lines[1][:20], *lines[2:]], "line 2 is no training step"),
        (lambda lines: [*lines[:2], lines[2].replace("0.3000", "x", 1), *lines[3:]], "line 3 .*could not convert"),
        (lambda lines: [*lines[:2], lines[2] + ",1", *lines[3:]], "line 3 is no training step"),
        (lambda lines: [*lines[:2], "1.5" + lines[2][1:], *lines[3:]], "line 3 is no training step"),
        (lambda lines: [*lines[:2], "\0\0\0", *lines[3:]], "line 3 is no training step"),
        (lambda lines: [lines[0], lines[2], lines[2], *lines[3:]], "line 3 holds step 1 after step 1"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "steps.csv"
    write(path, 4)
    path.write_text("".join(f"{line}\n" for line in damage(path.read_text().splitlines())))
    with pytest.raises(InvalidData, match=message) as caught:
        step_log.read(path)
    assert "steps.csv" in str(caught.value)
    before = path.read_bytes()
    with pytest.raises(InvalidData, match=message):
        StepLog(path, start=3)
    assert path.read_bytes() == before


def test_damage_after_the_first_look_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    write(path, 2)
    place = step_log.tail(path).place
    with path.open("a") as handle:
        handle.write("much\n")
    with pytest.raises(InvalidData, match="line 4 is no training step"):
        step_log.tail(path, place)


def test_a_missing_log(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"steps\.csv does not exist"):
        step_log.read(tmp_path / "steps.csv")
