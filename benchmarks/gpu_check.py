"""What this card does with the project: the tests that need a GPU, and the four benchmarks beside their goals.

    make gpu-check
    python -m benchmarks.gpu_check [--out FOLDER] [--minutes 8] [--only NAME …] [--device cpu]

Needs one NVIDIA GPU, the library with its own dependencies, and pytest; no network, no Prefect, no DVC.

- tests: `pytest -m gpu tests/gpu`, which compare the GPU with the CPU.
- training-float32, training-bfloat16: `benchmarks.training_speed`.
- features, neighbours, evaluation: the benchmarks `features_speed`, `neighbours_speed` and `evaluation_speed`.

Each runs in a child process with a share of the minutes, and what one leaves over goes to the next. The closing
table compares their figures with the goals, which are for an H100. `gpu-check.json` in the folder holds everything.
What cannot run on this card or machine is skipped with the reason: bfloat16, too little memory, a missing package.

`--device cpu` tries the check itself with tiny sizes and judges nothing.

The exit status is 1 if a test or a benchmark failed or ran out of time, and 2 if there is no CUDA device. A goal that
was missed is a figure, not a failure.
"""

from __future__ import annotations

import argparse
import operator
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import card, children
from clipn.utils.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
COMPARISONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Job:
    """What one child does: its arguments for `python -m`, those of a trial on a CPU, and its share of the time."""

    arguments: tuple[str, ...]
    trial: tuple[str, ...]
    share: float
    needs_bfloat16: bool = False


def _training(precision: str) -> Job:
    module = ("benchmarks.training_speed", "--precision", precision, "--batch-size")
    tiny = ("8", "--plain-batch-size", "2", "--rounds", "1")
    return Job((*module, "2048"), (*module, *tiny), 2, needs_bfloat16=precision == "bfloat16")


TESTS = "tests"
_PYTEST = ("pytest", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu")
JOBS: dict[str, Job] = {
    TESTS: Job(_PYTEST, _PYTEST, 3),
    "training-bfloat16": _training("bfloat16"),
    "training-float32": _training("float32"),
    "features": Job(
        ("benchmarks.features_speed",),
        ("benchmarks.features_speed", "--images", "16", "--batch-size", "8", "--rounds", "1"),
        2,
    ),
    "neighbours": Job(
        ("benchmarks.neighbours_speed",),
        ("benchmarks.neighbours_speed", "--images", "2000", "--queries", "100", "--features", "16", "--rounds", "1"),
        1,
    ),
    "evaluation": Job(
        ("benchmarks.evaluation_speed",),
        (
            "benchmarks.evaluation_speed",
            "--images",
            "100",
            "--classes",
            "10",
            "--words",
            "500",
            "--fit-images",
            "100",
            "--features",
            "16",
        ),
        1,
    ),
}
"""Name → child, in the order in which they run."""


@dataclass(frozen=True)
class Goal:
    """One row of the closing table: what, where its figure stands (job, then keys of its JSON), and the goal."""

    label: str
    path: tuple[str, ...]
    comparison: str
    goal: float


_WAYS = ("neighbours", "neighbours", "ways")
GOALS = (
    Goal("trainer / plain method, bfloat16", ("training-bfloat16", "trainer_over_plain"), "≥", 20),
    Goal("trainer / plain method, float32", ("training-float32", "trainer_over_plain"), "≥", 15),
    Goal("trainer / bare encoder, bfloat16", ("training-bfloat16", "trainer_over_bare"), "≥", 0.9),
    Goal("trainer / bare encoder, float32", ("training-float32", "trainer_over_bare"), "≥", 0.9),
    Goal("share of a step with busy kernels, bfloat16", ("training-bfloat16", "kernels_busy"), "≥", 0.8),
    Goal("share of a step with busy kernels, float32", ("training-float32", "kernels_busy"), "≥", 0.8),
    Goal("first step, bfloat16, s", ("training-bfloat16", "first_step_seconds"), "≤", 30),
    Goal("first step, float32, s", ("training-float32", "first_step_seconds"), "≤", 30),
    Goal("features, images/s on 16 cores", ("features", "images_per_second", "whole, processes"), "≥", 2000),
    Goal(
        "features / slower of tower and decoders",
        ("features", "ratios", "whole / min(tower, decode), processes"),
        "≥",
        0.85,
    ),
    Goal("neighbours, 50,000 × 1.28 M × 512, float32, s", (*_WAYS, "clipn, float32", "seconds"), "≤", 1.5),
    Goal("the same from candidates, s", (*_WAYS, "clipn, candidates", "seconds"), "≤", 0.5),
    Goal("its cosines, farthest from float32", (*_WAYS, "clipn, candidates", "largest_difference"), "≤", 1e-5),
)


@dataclass(frozen=True)
class Run:
    """What became of a child.

    Attributes:
        status: `passed`, `failed`, `timed out` or `skipped`.
        reason: why it did not pass, or the tests' own summary.
        seconds: that it took.
        figures: what it wrote.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/work/gpu-check"))
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--only", nargs="+", choices=[*JOBS], default=[*JOBS], metavar="NAME", help=", ".join(JOBS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    sys.exit(check({name: JOBS[name] for name in JOBS if name in options.only}, options.device, deadline, options.out))


def check(jobs: Mapping[str, Job], device: str, deadline: float, out: Path) -> int:
    """Run the jobs one after the other, print the closing table, and return the exit status.

    Args:
        jobs: by name.
        device: `cuda`, or `cpu` for a trial.
        deadline: by `time.monotonic`.
        out: folder of `gpu-check.json` and of what the children write.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # this process takes no memory of the card
        machine = pool.submit(card.describe, device).result()
    if machine["device"] is None:
        build = f"is built for CUDA {machine['cuda']}" if machine["cuda"] else "is built without CUDA"
        print(
            f"no CUDA device: torch {machine['torch']} {build} and finds no GPU here. Run this on a machine with an "
            "NVIDIA GPU and its driver, or try the check itself with --device cpu",
            file=sys.stderr,
        )
        return 2
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), flush=True)
    runs: dict[str, Run] = {}
    for name, job in jobs.items():
        left = deadline - time.monotonic()
        shares = sum(other.share for each, other in jobs.items() if each not in runs)
        runs[name] = run_job(name, job, device, machine, left * job.share / shares, out)
        print(f"{name}: {runs[name].status} in {runs[name].seconds:.0f} s  {runs[name].reason}", flush=True)
        # Written after each: whoever stops the check keeps what was measured.
        write_json(out / "gpu-check.json", report(machine, runs))
    show(runs, machine)
    print(f"everything is in {out / 'gpu-check.json'}")
    return int(any(run.status in ("failed", "timed out") for run in runs.values()))


def run_job(name: str, job: Job, device: str, machine: Mapping[str, Any], seconds: float, out: Path) -> Run:
    """Run one child and return what became of it."""
    if job.needs_bfloat16 and not machine["bfloat16"]:
        return Run("skipped", f"{machine['device']} does not compute in bfloat16")
    if seconds < 1:
        return Run("skipped", "no time was left; --minutes gives more")
    file = (out / f"{name}.json").absolute()
    file.unlink(missing_ok=True)
    arguments = job.arguments if device == "cuda" else job.trial
    if name != TESTS:
        arguments = (*arguments, "--device", device, "--json", str(file))
    print(f"\n{name}: {' '.join(arguments)}, at most {seconds:.0f} s", flush=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "CLIPN_GPU_TESTS": "cpu" if device == "cpu" else ""}
    ended = children.run([sys.executable, "-m", *arguments], seconds, name, cwd=ROOT, env=environment)
    if ended.status is None:
        return Run("timed out", f"after its share of {seconds:.0f} s", ended.seconds)
    if name == TESTS:
        return Run("failed" if ended.status else "passed", ended.tail[-1], ended.seconds)
    if ended.status:
        return failure(ended.tail, ended.seconds)
    if not file.is_file():
        return Run("failed", f"it ended well but wrote no {file.name}", ended.seconds)
    return Run("passed", seconds=ended.seconds, figures=read_json(file))


def failure(tail: Sequence[str], seconds: float) -> Run:
    """Return the run of a benchmark that ended with these lines: skipped if card or machine lack something."""
    for line in reversed(tail):
        if "No module named" in line:
            return Run("skipped", f"a module is missing: {line}", seconds)
        if "out of memory" in line or "not enough memory" in line:
            return Run("skipped", f"it needs more memory than is free here: {line}", seconds)
    return Run("failed", tail[-1], seconds)


def figure(runs: Mapping[str, Run], path: Sequence[str]) -> float | None:
    """Return the number at `path`, or the median of numbers there; None if it was not measured."""
    value: Any = runs[path[0]].figures if path[0] in runs else None
    for key in path[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, list) and value:
        value = statistics.median(value)
    return float(value) if isinstance(value, int | float) else None


def report(machine: Mapping[str, Any], runs: Mapping[str, Run]) -> dict[str, Any]:
    """Return everything as JSON takes it."""
    goals = []
    for goal in GOALS:
        value = figure(runs, goal.path)
        trial = machine["cuda"] is None
        met = None if value is None or trial else COMPARISONS[goal.comparison](value, goal.goal)
        goals.append({**asdict(goal), "figure": value, "met": met})
    return {"machine": machine, "runs": {name: asdict(run) for name, run in runs.items()}, "goals": goals}


def show(runs: Mapping[str, Run], machine: Mapping[str, Any]) -> None:
    """Print the closing table."""
    table = Table("what", "figure", "goal", "met", title=f"{machine['device']}; the goals are for an H100")
    for name, run in runs.items():
        table.add_row(name, f"{run.seconds:.0f} s", "", escape(": ".join(filter(None, (run.status, run.reason)))))
    table.add_section()
    for row in report(machine, runs)["goals"]:
        shown = "–" if row["figure"] is None else f"{row['figure']:,.3g}"
        unjudged = "not measured" if row["figure"] is None else "a trial, not judged"
        judged = {True: "yes", False: "no", None: unjudged}[row["met"]]
        table.add_row(row["label"], shown, f"{row['comparison']} {row['goal']:,g}", judged)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
