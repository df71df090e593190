"""Stage `train`: the no encoder, once for each seed."""

from __future__ import annotations

import csv
from dataclasses import asdict
from typing import Any

import torch

from clipn import backbone, config, io, no_encoder, train
from clipn.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.store import FeatureStore
from clipn.timing import Phases
from flows import machine, paths
from flows.stage import StageProgress, main, stage


@stage("train")
def run(seed: int) -> dict[str, Any]:
    """Train on the cached features and write the weights and the training curve."""
    params = config.load().train
    phases = Phases()
    with phases("load"):
        device = machine.device()
        clip = backbone.load(paths.BACKBONE, device)
        pairs = FeatureStore.open(paths.TRAIN_FEATURES, clip.fingerprint).load()
        torch.manual_seed(seed)
        encoder = NoTextEncoder(clip.model, params.n_prompts).to(device)
    per_epoch = train.steps_per_epoch(len(pairs.keys), params.batch_size)
    steps = per_epoch * params.epochs
    progress = StageProgress("steps")
    with phases("train"):
        history = train.fit(
            encoder,
            train.draw_batches(pairs, params, seed),
            steps=steps,
            steps_per_epoch=per_epoch,
            params=params,
            logit_scale=clip.logit_scale,
            on_step=lambda step: progress(step.step + 1, steps),
        )
    no_encoder.save(encoder, NoEncoderConfig(params.n_prompts, clip.fingerprint, seed), paths.model(seed))
    with io.atomic_path(paths.TRAINING / f"seed-{seed}.csv") as path, path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(asdict(history[0])))
        writer.writeheader()
        # Six digits: enough to compare runs, few enough for a readable difference in git.
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()} for row in history
        )
    seconds = phases.seconds()
    return {
        "counts": {"pairs": len(pairs.keys), "steps": steps},
        "seconds": seconds,
        "samples_per_second": round(steps * params.batch_size / seconds["train"], 1),
        "device": device,
    }


if __name__ == "__main__":
    main(run)
