"""Stage `train`: the "No" text encoder, once for each seed, in processes of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from clipn import paths
from clipn.features.store import FeatureStore
from clipn.project.params import read_params
from clipn.training import step_log
from flows.ray import cluster
from flows.runtime import machine
from flows.runtime.stage import stage
from flows.training.trainer import Running, started
from flows.training.watch import Training, Watch


@stage("train")
def run(seed: int) -> dict[str, Any]:
    """Train on the cached features; an interrupted run goes on from its last checkpoint."""
    params = read_params().train
    pairs = len(FeatureStore.open(paths.TRAIN_FEATURES))
    total = step_log.per_epoch(pairs, params.batch_size) * params.epochs
    work = paths.work_of_training(seed)
    arguments = [str(seed), "--work", str(work), "--out", str(paths.model(seed))]
    training = _trainer(arguments, params.batch_size)
    watch = Watch(
        Training(
            log=work / "steps.csv",
            steps=total,
            epochs=params.epochs,
            record=paths.TRAINING / f"seed-{seed}",
            events=work / "tensorboard",
        )
    )
    start = time.perf_counter()
    with training as trainer:
        watch.until(lambda: not trainer.running())
        trainer.check()
    rates = [step.samples_per_second for step in step_log.read(work / "steps.csv")]
    return {
        "counts": {"pairs": pairs, "steps": total},
        "seconds": {"train": round(time.perf_counter() - start, 3)},
        "samples_per_second": round(sorted(rates)[len(rates) // 2], 1),
        "device": trainer.device,
        "processes": trainer.processes,
    }


def _trainer(arguments: Sequence[str], batch_size: int) -> AbstractContextManager[Running]:
    """Training on the Ray cluster if there is one, else on this machine."""
    if cluster.address():
        from flows.training import ray_trainer  # without a cluster nothing of Ray is imported

        return ray_trainer.started(arguments, batch_size)
    device = machine.device()
    return started(arguments, machine.processes(device), machine.workers(), device)
