"""`clipn train`: one seed, in this process or in each of those that torchrun started."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from clipn import paths
from clipn.cli import options
from clipn.errors import InvalidParams

if TYPE_CHECKING:
    from clipn.training.step_log import Step

GRACE_SECONDS = 60
"""From the parent's end to this process's, for a last checkpoint."""

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "clipn train 0",
        "torchrun --standalone --nproc-per-node 4 -m clipn train 0 --device cuda",
    )
)
def train(
    seed: Annotated[int, typer.Argument(min=0, help="Decides the order of the data and what is drawn.")],
    params: Annotated[Path, typer.Option(help="File of parameters.")] = Path("params.yaml"),
    backbone: Annotated[Path, typer.Option(help="Folder of the frozen CLIP.")] = paths.BACKBONE,
    features: Annotated[Path, typer.Option(help="Feature store of the training pairs.")] = paths.TRAIN_FEATURES,
    set_features: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Feature stores of the sets in train.check.")
    ] = paths.SET_FEATURES,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model.", show_default="models/clipn/seed-SEED")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Checkpoints and steps.csv.", show_default="data/work/train/seed-SEED")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to train.", show_default="cuda if there is one, else cpu")
    ] = None,
    checkpoint_seconds: Annotated[float, typer.Option(metavar="S", help="Time between checkpoints.")] = 300,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on the terminal.")] = False,
    end_with_parent: Annotated[
        bool, typer.Option("--end-with-parent", help="Stop when standard input closes.")
    ] = False,
) -> None:
    """Train the "No" text encoder on cached features.

    Needs neither DVC nor Prefect, and also runs under torchrun. Goes on from its last checkpoint if it was
    interrupted. SIGINT and SIGTERM stop after the step under way, with a checkpoint.
    """
    import torch  # takes seconds, which the help need not wait for

    from clipn.cli.progress import TrainingBar
    from clipn.project.params import read_params
    from clipn.training import distributed
    from clipn.training import run as training_run
    from clipn.utils import devices, processes

    device = devices.choose(device)
    try:
        torch.device(device)  # the name alone: a process of several gets its own GPU when it joins them
    except RuntimeError as error:
        raise InvalidParams(f"there is no device {device!r}; name another one, such as cpu or cuda") from error
    parameters = read_params(params).train
    job = training_run.Job(
        seed=seed,
        params=parameters,
        backbone=backbone,
        features=features,
        id_features=set_features / parameters.check.id,
        ood_features=set_features / parameters.check.ood,
        out=out or paths.model(seed),
        work=work or paths.work_of_training(seed),
        checkpoint_seconds=checkpoint_seconds,
    )
    stop = threading.Event()
    if end_with_parent:
        processes.at_parents_end(lambda: _stop_with_parent(stop))
    with (
        _stop_on_signals(stop),
        distributed.joined(device) as group,
    ):
        bar = TrainingBar() if group.leads and not quiet else None
        with bar or nullcontext():
            training_run.run(
                job,
                group,
                on_step=bar or _show_no_step,
                warn=_warn if group.leads else _warn_on_rank_0_only,
                stop=stop.is_set,
            )


def _show_no_step(step: Step, steps: int) -> None:
    """Do nothing: whoever started this process reads steps.csv instead."""


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _warn_on_rank_0_only(message: str) -> None:
    """Do nothing: rank 0 prints the same warning."""


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM set `stop`; the second one ends the process as usual."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in earlier:
            signal.signal(each, signal.SIG_DFL)

    earlier = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _stop_with_parent(stop: threading.Event) -> None:
    stop.set()
    threading.Event().wait(GRACE_SECONDS)
    os._exit(1)  # a step that waits for a process that is gone would wait on
