"""`clipn train`: one seed, in this process or in each of those that torchrun started."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clipn.project.params import read_params
from clipn.training.step_log import Step

GRACE_SECONDS = 60
"""From the parent's end to this process's, for a last checkpoint."""


def add(commands: Any) -> None:
    """Add the command to the parser's subcommands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train the no encoder on cached features, without DVC and Prefect; also under torchrun",
        description="Goes on from its last checkpoint if it was interrupted. On several processes: "
        "torchrun --standalone --nproc-per-node 4 -m clipn train SEED",
    )
    parser.add_argument("seed", type=int, help="decides the order of the data and what is drawn")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: %(default)s")
    parser.add_argument("--backbone", type=Path, default=Path("data/backbone"), help="default: %(default)s")
    parser.add_argument("--features", type=Path, default=Path("data/features/train"), help="default: %(default)s")
    parser.add_argument(
        "--set-features", type=Path, default=Path("data/features/sets"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, help="folder of the model; default: models/clipn/seed-SEED")
    parser.add_argument("--work", type=Path, help="checkpoints and steps.csv; default: data/work/train/seed-SEED")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=300, metavar="S", help="between checkpoints; default: %(default)s"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")
    parser.add_argument("--end-with-parent", action="store_true", help="stop when standard input closes")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train; SIGINT and SIGTERM stop after the step under way, with a checkpoint."""
    import torch  # takes seconds, which the other commands need not wait for

    from clipn.training import distributed
    from clipn.training import run as training_run

    params = read_params(options.params).train
    job = training_run.Job(
        seed=options.seed,
        params=params,
        backbone=options.backbone,
        features=options.features,
        id_features=options.set_features / params.check.id,
        ood_features=options.set_features / params.check.ood,
        out=options.out or Path(f"models/clipn/seed-{options.seed}"),
        work=options.work or Path(f"data/work/train/seed-{options.seed}"),
        checkpoint_seconds=options.checkpoint_seconds,
    )
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    stop = threading.Event()
    if options.end_with_parent:
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    with _signals(stop), distributed.joined(device) as group:
        shown = _Shown() if group.leads and not options.quiet else None
        with shown or nullcontext():
            training_run.run(
                job, group, on_step=shown or _unseen, warn=_warn if group.leads else _unheard, stop=stop.is_set
            )


class _Shown:
    """A progress bar with the latest losses."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("")

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: Step, steps: int) -> None:
        self._bar.start()  # not before: what is wrong with the inputs is said without a bar
        text = f"loss {step.loss:.4f}, {step.samples_per_second:,.0f} pairs/s"
        if step.auroc_atd is not None:
            self._bar.console.print(
                f"step {step.step + 1}: AUROC {step.auroc_ctw:.4f} (CTW), {step.auroc_atd:.4f} (ATD)"
            )
        self._bar.update(self._task, total=steps, completed=step.step + 1, description=text)


def _unseen(step: Step, steps: int) -> None:
    """Whoever started this process reads steps.csv instead."""


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _unheard(message: str) -> None:
    """Rank 0 has said it."""


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks to stop, the second one ends the process as usual."""

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in earlier:
            signal.signal(each, signal.SIG_DFL)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _stop_with_parent(stop: threading.Event) -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the parent is gone
    stop.set()
    threading.Event().wait(GRACE_SECONDS)
    os._exit(1)  # a step that waits for a process that is gone would wait on
