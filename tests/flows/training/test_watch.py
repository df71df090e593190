"""A training run watched from outside: a process or thread that writes the log while `Watch` follows it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger

from clipn.errors import InvalidData
from clipn.training import step_log
from clipn.training.step_log import StepLog
from flows.runtime import progress
from flows.training import watch
from flows.training.record import Record
from flows.training.watch import Lines, Training, Watch
from tests.flows.training.test_record import column, files, step

Write = Callable[[], None]
APPEND = """
import sys, time
with open(sys.argv[1], "a") as handle:
    for row in sys.argv[3].splitlines(keepends=True):
        time.sleep(0.03)
        handle.write(row)
        handle.flush()
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(
        log=tmp_path / "work/seed-0/steps.csv",
        steps=12,
        epochs=3,
        record=tmp_path / "reports/seed-0",
        events=tmp_path / "work/seed-0/tensorboard",
    )


def text(rows: range) -> str:
    """Rows as the log holds them, without its header."""
    lines = (step(number, auroc=0.5 if number % 5 == 4 else None) for number in rows)
    return "".join(f"{step_log._row(line)}\n" for line in lines)


def follow(training: Training, write: Write) -> None:
    """Watch what `write` does in a thread; an error of it comes after the watching's own."""
    follower = Watch(training)
    with ThreadPoolExecutor(1) as pool:
        written: Future[None] = pool.submit(write)
        follower.until(written.done)
    written.result()


def run(training: Training, write: Write) -> None:
    """Outside of Prefect, which takes a second for a flow run."""
    with disable_run_logger():
        follow(training, write)


def run_as_flow(training: Training, write: Write) -> None:
    flow(follow, name="watching", persist_result=False)(training, write)


def run_process(training: Training, code: int, rows: str) -> int:
    """Watch a process that writes these rows and ends with this code."""
    with disable_run_logger():
        follower = Watch(training)
        StepLog(training.log).close()
        child = subprocess.Popen([sys.executable, "-c", APPEND, str(training.log), str(code), rows])
        follower.until(lambda: child.poll() is not None)
        return child.wait()


def append(training: Training, count: int, start: int = 0, pause: float = 0.005) -> None:
    with StepLog(training.log, start) as log:
        for number in range(start, count):
            time.sleep(pause)
            log.append(step(number, auroc=0.5 if number % 5 == 4 else None))


def expected(tmp_path: Path, count: int, total: int = 12) -> dict[str, str]:
    """The record of these steps, written at once."""
    record = Record(tmp_path / "expected", total)
    record.add([step(number, auroc=0.5 if number % 5 == 4 else None) for number in range(count)])
    record.close()
    return contents(tmp_path / "expected")


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in files(folder)}


def test_a_process_that_ends_well_is_recorded_to_its_last_step(training: Training, tmp_path: Path) -> None:
    assert run_process(training, 0, text(range(12))) == 0
    assert contents(training.record) == expected(tmp_path, 12)


def test_a_process_that_fails_leaves_what_was_logged(training: Training, tmp_path: Path) -> None:
    assert run_process(training, 3, text(range(7)) + "7,1,0.") == 3
    assert contents(training.record) == expected(tmp_path, 7)


def test_a_process_that_never_logs(training: Training) -> None:
    run(training, lambda: None)
    assert files(training.record) == ["metrics.json"]


def test_a_resumed_run_is_recorded_from_its_first_step(training: Training, tmp_path: Path) -> None:
    append(training, 7, pause=0)
    run(training, lambda: append(training, 12, start=5))
    assert contents(training.record) == expected(tmp_path, 12)


def test_what_an_earlier_run_left_is_not_shown(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(training, 12, pause=0)
    run_as_flow(training, lambda: time.sleep(0.1))
    assert files(training.record) == ["metrics.json"]
    assert "epoch" not in caplog.text


def test_a_run_that_starts_again_while_it_is_watched(training: Training, tmp_path: Path) -> None:
    def crash_and_resume() -> None:
        append(training, 8)
        time.sleep(0.1)
        append(training, 12, start=3)

    run(training, crash_and_resume)
    assert contents(training.record) == expected(tmp_path, 12)


def test_people_read_lines_and_the_bar_is_full(
    training: Training, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "LOG_SECONDS", 0.0)
    run_as_flow(replace(training, record=training.record.with_name("seed-7")), lambda: append(training, 12))
    said = [record.getMessage() for record in caplog.records if record.name == "prefect.flow_runs"]
    assert any(line.startswith("epoch 3/3, step 12/12: loss 1.7000 (yes 0.0714,") for line in said)
    assert "held-out check after step 10: AUROC CTW 50.00 %, ATD 50.00 %" in said
    with get_client(sync_client=True) as client:
        bars = [artifact for artifact in client.read_artifacts() if artifact.description == "steps of seed-7"]
    assert [bar.data for bar in bars] == [100.0]


def test_a_prefect_server_that_does_not_answer_ends_nothing(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def refuse(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(watch, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(progress, "create_progress_artifact", refuse)
    run_as_flow(training, lambda: append(training, 12))
    assert len(calls) == 1  # tried again only after a pause
    assert "did not take the progress (connection refused)" in caplog.text
    assert contents(training.record) == expected(tmp_path, 12)


def test_a_record_that_could_not_be_written_is_completed_at_the_end(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = training.record / "plots/metrics"

    def write() -> None:
        append(training, 6)
        while len(column(training.record, "loss")) < 6:
            time.sleep(0.01)
        metrics.rename(metrics.with_name("away"))
        metrics.write_text("no folder")  # every further row fails, as on a full disk
        with training.log.open("a") as handle:
            handle.write(text(range(6, 8)))
        while "not shown any more" not in caplog.text:
            time.sleep(0.01)
        with training.log.open("a") as handle:
            handle.write(text(range(8, 12)))

    run_as_flow(training, write)
    assert contents(training.record) == expected(tmp_path, 12)


def test_a_damaged_log_is_an_error_only_after_the_training(training: Training, tmp_path: Path) -> None:
    times = {}

    def write() -> None:
        append(training, 4)
        while len(column(training.record, "loss")) < 4:
            time.sleep(0.01)
        with training.log.open("a") as handle:
            handle.write("much\n")
        time.sleep(0.2)
        times["ended"] = time.monotonic()

    with pytest.raises(InvalidData, match="line 6 is no training step"):
        run(training, write)
    assert "ended" in times
    assert contents(training.record) == expected(tmp_path, 4)


def test_an_interruption_closes_the_record(training: Training, tmp_path: Path) -> None:
    long = replace(training, steps=100_000)
    asked = []

    def done() -> bool:
        asked.append(True)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return False

    with disable_run_logger():
        follower = Watch(long)
        append(long, 7, pause=0)
        with pytest.raises(KeyboardInterrupt):
            follower.until(done)
    assert contents(long.record) == expected(tmp_path, 7, total=100_000)


def test_lines_for_people(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    said: list[str] = []
    lines = Lines(replace(training, steps=2000, epochs=500), said.append)
    lines.add([step(number, auroc=0.25) for number in range(10)])  # of the run that is resumed
    assert said == ["held-out check after step 10: AUROC CTW 25.00 %, ATD 75.00 %"]
    said.clear()
    now[0] += watch.LOG_SECONDS
    lines.add([step(number) for number in range(10, 20)])  # 10 steps in 5 s, 1980 are left
    assert said == [
        "epoch 5/500, step 20/2,000: loss 1.7000 (yes 0.0455, no 0.7000, tso 1.9900), gradient 2, lr 3.00e-04, "
        "scale 100, 1,235 samples/s, 16 min 30 s left"
    ]
    now[0] += 1
    lines.add([step(20)])
    assert len(said) == 1
    lines.close()
    assert said[1].startswith("epoch 6/500, step 21/2,000: ")
    lines.close()
    assert len(said) == 2


def test_the_last_line_has_no_time_left(training: Training) -> None:
    said: list[str] = []
    lines = Lines(training, said.append)
    lines.add([step(10)])
    lines.add([step(11)])
    lines.close()
    assert len(said) == 1
    assert said[0].endswith("1,235 samples/s")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"), (90_000, "25 h 00 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert watch.duration(seconds) == words
