"""One training run from start or from its last checkpoint to the finished model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from clipn.config import TrainParams
from clipn.errors import Interrupted, MissingInput, OtherRun
from clipn.features.store import FeatureStore
from clipn.models import backbone, no_encoder
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.prompts import templates
from clipn.prompts.class_features import sentences
from clipn.prompts.paired import PairedTokens
from clipn.training import checkpoint, loop
from clipn.training.distributed import Group
from clipn.training.held_out import HeldOut
from clipn.training.loop import Launched
from clipn.training.step_log import Step, StepLog
from clipn.training.stream import Draws, PairStream
from clipn.utils import devices

CHECKPOINTS = "checkpoints"
STEPS = "steps.csv"
FORMAT = 1
"""Grows when the meaning of a checkpoint changes, so that older ones are not continued."""


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        seed: decides the order of the data and what is drawn.
        params: everything else that decides the result.
        backbone: folder of the frozen CLIP.
        features: training features.
        id_features, ood_features: feature stores of the two sets of `params.check`; not read if `check.every` is 0.
        out: where the finished model goes.
        work: holds checkpoints and `steps.csv` while the run is not finished, and `steps.csv` after it.
        checkpoint_seconds: time between two checkpoints.
    """

    seed: int
    params: TrainParams
    backbone: Path
    features: Path
    id_features: Path
    ood_features: Path
    out: Path
    work: Path
    checkpoint_seconds: float = 300.0


def run(
    job: Job,
    group: Group,
    *,
    on_step: Callable[[Step, int], None] = lambda step, steps: None,
    warn: Callable[[str], None] = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train, resuming where an earlier call was stopped, and write the model.

    Args:
        job: what to train.
        group: the processes that train together; each calls this function.
        on_step: called on rank 0 after every step with the step and the number of all steps; on a GPU while the
            next one runs.
        warn: called with a message about what was set aside or passed over.
        stop: called after every step. True ends the run, after a checkpoint was written.

    Returns:
        number of training pairs.

    Raises:
        MissingInput, InvalidData, BackboneMismatch, InvalidParams: an input or a parameter is wrong.
        Interrupted: `stop` gave True.
        NonFinite: the loss became NaN or infinite.
        OutOfMemory: a step does not fit into the device's memory.
    """
    params = job.params
    group.share(params.batch_size)  # refuses a batch that cannot be divided
    clip = backbone.load(job.backbone, group.device)
    torch.manual_seed(job.seed)
    handcrafted = params.variant == "handcrafted"
    encoder = NoTextEncoder(clip.model, 0 if handcrafted else params.n_prompts, params.temperature == "learned")
    config = NoEncoderConfig(
        variant=params.variant,
        n_prompts=encoder.n_prompts,
        paired_templates=params.paired_templates if handcrafted else None,
        learned_scale=params.temperature == "learned",
        backbone=clip.fingerprint,
        seed=job.seed,
    )
    if group.device.type == "cuda" and not encoder.encoder.takes_blocks:
        warn(
            "the blocks of this text tower are not those of CLIP, so attention is called once for every length of "
            "caption; a GPU then waits for the host most of the time"
        )
    state = loop.State.start(encoder.to(group.device), params)
    with ExitStack() as stack:
        stack.enter_context(devices.memory_errors(f"lower train.batch_size, which is {params.batch_size}"))
        store = FeatureStore.open(job.features, clip.fingerprint)
        stream = PairStream(
            store,
            batch_size=params.batch_size,
            seed=job.seed,
            draws=_draws(params, clip),
            shuffle_rows=params.shuffle_rows,
            rank=group.rank,
            size=group.size,
            pack=partial(clip.text.pack, blocks=loop.fuse(encoder, params, group.device)),
        )
        steps = stream.steps_per_epoch * params.epochs
        held_out = None
        if group.leads and params.check.every:
            of_classes = sentences(config, params.check.templates)
            held_out = HeldOut.read(clip, job.id_features, job.ood_features, of_classes, params.check.images)
        run_is = _identity(job, clip, store)
        _resume(job, group, state, run_is, warn)
        batches = stack.enter_context(closing(stream.batches(state.step, pin=group.device.type == "cuda")))
        log = stack.enter_context(StepLog(job.work / STEPS, state.step)) if group.leads else None

        def record(step: Step) -> None:
            if log is not None:
                log.append(step)
                on_step(step, steps)

        saved = time.monotonic()
        unread: Launched | None = None
        for launched in loop.fit(
            state,
            batches,
            steps=steps,
            steps_per_epoch=stream.steps_per_epoch,
            params=params,
            logit_scale=clip.logit_scale,
            group=group,
            yes=clip.text,
        ):
            if unread is not None:
                record(unread.read())
            ends = state.step == steps
            stopping = not ends and group.any(stop())
            checked = held_out is not None and (state.step % params.check.every == 0 or ends)
            saving = stopping or time.monotonic() - saved > job.checkpoint_seconds
            if group.device.type == "cuda" and not (ends or checked or saving):
                unread = launched  # it is read while the GPU has the next step
                continue
            step, unread = launched.read(), None
            if checked and held_out is not None:
                ctw, atd = held_out.auroc(encoder)
                step = replace(step, auroc_ctw=ctw, auroc_atd=atd)
            record(step)
            if saving and group.leads:
                checkpoint.save(job.work / CHECKPOINTS, state.step, encoder, state.optimizer, run_is)
            if saving:
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped after step {state.step} of {steps}; the same command goes on from there")
    if group.leads:
        no_encoder.save(encoder, config, job.out)
        shutil.rmtree(job.work / CHECKPOINTS, ignore_errors=True)
    return len(store)


def _draws(params: TrainParams, clip: Backbone) -> Draws:
    if params.variant == "handcrafted":
        pairs = templates.load_paired(params.paired_templates)
        tokens = PairedTokens.of(pairs, clip.tokenize, clip.text.ends)
        return Draws(pairs=tokens, context_length=clip.text.context_length)
    return Draws(n_prompts=params.n_prompts, mean=params.draw_mean)


def _identity(job: Job, clip: Backbone, store: FeatureStore) -> dict[str, Any]:
    """Return everything that the weights depend on, as JSON gives it back."""
    values = {name: value for name, value in asdict(job.params).items() if name not in ("seeds", "check")}
    return {
        **{f"train.{name}": value for name, value in values.items()},
        "format": FORMAT,
        "seed": job.seed,
        "backbone": clip.fingerprint,
        "features": store.fingerprint,
    }


def _resume(job: Job, group: Group, state: loop.State, run_is: dict[str, Any], warn: Callable[[str], None]) -> None:
    """Bring `state` to where the last checkpoint was, on all processes alike."""
    newest = None
    if group.leads:
        newest = _newest(job, run_is, warn)
    step = group.agree(newest.step if newest else None)
    if step is None:
        return
    if newest is None:
        newest = checkpoint.latest(job.work / CHECKPOINTS, run_is, lambda message: None)
    if newest is None or newest.step != step:
        raise MissingInput(f"process {group.rank} cannot read the checkpoint of step {step} in {job.work}; share it")
    newest.restore(state.encoder, state.optimizer)
    state.step = step


def _newest(job: Job, run_is: dict[str, Any], warn: Callable[[str], None]) -> checkpoint.Checkpoint | None:
    checkpoint.clean(job.work / CHECKPOINTS)
    try:
        return checkpoint.latest(job.work / CHECKPOINTS, run_is, warn)
    except OtherRun as error:
        aside = next(path for n in count(1) if not (path := job.work.with_name(f"{job.work.name}.aside-{n}")).exists())
        job.work.rename(aside)
        warn(f"{error}. It was moved to {aside}, and training starts anew; move it back to go on with it")
        return None
