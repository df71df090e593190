"""The check of a card, with children that only pretend to measure."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import Goal, Job, Run

CHILDREN = {
    "good": "import sys; open(sys.argv[sys.argv.index('--json') + 1], 'w').write('{\"seconds\": {\"exact\": 1.25}}')",
    "silent": "print('done')",
    "broken": "raise ValueError('no such thing')",
    "lacking": "import a_module_that_is_not_there",
    "hungry": "raise MemoryError('CUDA out of memory. Tried to allocate 9 GiB.')",
    "endless": "import time; print('working', flush=True); time.sleep(600)",
}
CARD = {"device": "a card", "cuda": "13.0", "bfloat16": False}


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, program in CHILDREN.items():
        (tmp_path / f"{name}.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run(name: str, tmp_path: Path, seconds: float = 60, *, needs_bfloat16: bool = False) -> Run:
    job = Job((name,), (name,), 1, needs_bfloat16)
    return gpu_check.run_job(name, job, "cuda", CARD, seconds, tmp_path)


@pytest.mark.parametrize(
    ("child", "status", "reason"),
    [
        ("good", "passed", ""),
        ("silent", "failed", "it ended well but wrote no silent.json"),
        ("broken", "failed", "ValueError: no such thing"),
        (
            "lacking",
            "skipped",
            "a module is missing: ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
        ),
        ("hungry", "skipped", "needs more memory than is free here: MemoryError: CUDA out of memory"),
    ],
)
def test_what_became_of_a_child(child: str, status: str, reason: str, tmp_path: Path) -> None:
    ended = run(child, tmp_path)
    assert ended.status == status
    assert reason in ended.reason
    assert ended.figures == ({"seconds": {"exact": 1.25}} if child == "good" else {})


def test_a_child_is_stopped_after_its_share(tmp_path: Path) -> None:
    ended = run("endless", tmp_path, seconds=1.5)
    assert (ended.status, ended.reason) == ("timed out", "after its share of 2 s")
    assert ended.seconds < 30


def test_what_the_card_cannot_do_is_skipped_with_the_reason(tmp_path: Path) -> None:
    assert run("good", tmp_path, needs_bfloat16=True).reason == "a card does not compute in bfloat16"
    assert run("good", tmp_path, seconds=0.1) == Run("skipped", "no time was left; --minutes gives more")


def test_figures_of_an_earlier_check_do_not_count(tmp_path: Path) -> None:
    assert run("good", tmp_path).status == "passed"
    (tmp_path / "good.py").write_text("pass")
    assert run("good", tmp_path).status == "failed"


def test_goals_are_compared_where_there_is_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [("a", "x"), ("a", "x"), ("a", "rounds"), ("a", "x", "deeper"), ("a", "name"), ("a", "none"), ("b", "x")]
    goals = tuple(Goal("…", path, sign, 2) for path, sign in zip(paths, "≥≤≤≥≥≥≥", strict=True))
    monkeypatch.setattr(gpu_check, "GOALS", goals)
    runs = {"a": Run("passed", figures={"x": 3, "rounds": [9, 1, 1.5], "name": "3", "none": []})}
    rows = gpu_check.report(CARD, runs)["goals"]
    assert [row["met"] for row in rows] == [True, False, True, None, None, None, None]
    assert [row["figure"] for row in rows] == [3, 3, 1.5, None, None, None, None]


def test_every_goal_is_of_a_job() -> None:
    assert {goal.path[0] for goal in gpu_check.GOALS} <= set(gpu_check.JOBS)


def test_the_whole_check_goes_on_after_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    goals = (Goal("exact search", ("neighbours", "seconds", "exact"), "≤", 1.5), Goal("…", ("tests", "x"), "≥", 1))
    monkeypatch.setattr(gpu_check, "GOALS", goals)
    jobs = {name: Job((), (child,), 1) for name, child in {"features": "broken", "neighbours": "good"}.items()}
    assert gpu_check.check(jobs, "cpu", time.monotonic() + 300, tmp_path / "out") == 1
    out = capsys.readouterr().out
    assert "failed: ValueError: no such thing" in out
    assert "a trial, not judged" in out
    assert "not measured" in out
    told = json.loads((tmp_path / "out/gpu-check.json").read_text())
    assert {name: each["status"] for name, each in told["runs"].items()} == {
        "features": "failed",
        "neighbours": "passed",
    }
    assert [row["figure"] for row in told["goals"]] == [1.25, None]
    assert [row["met"] for row in told["goals"]] == [None, None]
    assert told["machine"]["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.check(gpu_check.JOBS, "cuda", time.monotonic() + 300, tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("no CUDA device: torch ")
    assert not (tmp_path / "out").exists()
