"""What orchestration costs: DVC, Prefect and starting the stages, beside the work that the stages do.

A copy of the project's tracked files runs `python -m flows.repro` from nothing. Work is the time inside of the
stages' functions, which every stage writes into its report; the rest is orchestration. Then the same training
runs as the bare command and as a stage of `dvc repro`, in turns: what following a long run costs.

    python -m benchmarks.orchestration --profile smoke --epochs 40
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAGE = re.compile(r"Running stage '(?:.*:)?(.+)':")


def copy_project(folder: Path) -> None:
    """The files that git tracks or would track, in a repository of their own, without results and their record."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and Path(name).name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def timed(command: Sequence[str], folder: Path) -> tuple[float, str]:
    """Run a command in the project; gives seconds and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".prefect")}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return time.perf_counter() - start, done.stdout


def work(folder: Path, output: str) -> tuple[int, float]:
    """Number of stages that ran and the seconds inside of them."""
    names = [name.replace("@", "-") for name in STAGE.findall(output)]
    reports = [json.loads((folder / "reports/stages" / f"{name}.json").read_text()) for name in names]
    return len(reports), sum(report["seconds"]["total"] for report in reports)


def pipeline(folder: Path) -> None:
    """Run everything and say where the time went."""
    wall, output = timed([sys.executable, "-m", "flows.repro"], folder)
    stages, inside = work(folder, output)
    again, _ = timed([sys.executable, "-m", "flows.repro"], folder)
    servers = len(set(re.findall(r"(http://127\.0\.0\.1:\d+)/runs/", output)))
    rest = wall - inside
    print(f"{stages} stages: {wall:.1f} s, of which {inside:.1f} s inside of the stages")
    print(f"orchestration: {rest:.1f} s, {100 * rest / wall:.1f} %, {rest / stages:.2f} s a stage; {servers} server(s)")
    print(f"less than 1 % of every run that is longer than {rest / 0.6:.0f} min; nothing to do: {again:.1f} s")


def training(folder: Path, epochs: int, repeats: int) -> None:
    """Train alone, and as a stage of DVC and Prefect, in turns."""
    subprocess.run(
        [sys.executable, "-m", "clipn", "profile", "smoke", f"train.epochs={epochs}"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    bare, followed = [], []
    for number in range(repeats):
        place = ["--work", f"bare-{number}/work", "--out", f"bare-{number}/model", "--device", "cpu", "--quiet"]
        bare.append(timed([sys.executable, "-m", "clipn", "train", "0", *place], folder)[0])
        shutil.rmtree(folder / "data/work/train", ignore_errors=True)
        followed.append(timed([sys.executable, "-m", "dvc", "repro", "-f", "-s", "train@0"], folder)[0])
    alone, staged = statistics.median(bare), statistics.median(followed)
    print(f"training of {epochs} epochs: {alone:.1f} s alone, {staged:.1f} s as a stage, ratio {staged / alone:.3f}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="miniature", help="what is run")
    parser.add_argument("--epochs", type=int, default=0, help="of the training run; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3, help="of both training runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        timed([sys.executable, "-m", "clipn", "profile", options.profile], folder)
        pipeline(folder)
        if options.epochs:
            training(folder, options.epochs, options.repeats)


if __name__ == "__main__":
    main()
