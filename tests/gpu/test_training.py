"""Training on a GPU makes the steps of the CPU, goes on from a checkpoint, and stops at a loss that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clipn.errors import NonFinite
from clipn.features.store import FeatureStore
from clipn.models.backbone import Backbone
from clipn.training import run
from clipn.training.checkpoint import STATE
from clipn.training.distributed import Group
from tests.gpu.conftest import PARAMS, STEPS, save_checkpoint, train

Clips = tuple[Backbone, Backbone]


def test_ten_steps_have_the_losses_of_the_cpu(clips: Clips, store: FeatureStore) -> None:
    expected, trained = (train(clip, store) for clip in clips)
    assert [step.step for step in trained.steps] == list(range(STEPS))
    for name in ("loss", "loss_yes", "loss_no", "loss_tso"):
        values, of_cpu = ([getattr(step, name) for step in one.steps] for one in (trained, expected))
        assert values == pytest.approx(of_cpu, rel=1e-4), name


def test_bfloat16_stays_near_float32(clips: Clips, store: FeatureStore) -> None:
    expected, trained = train(clips[0], store), train(clips[1], store, precision="bfloat16")
    assert [step.loss for step in trained.steps] == pytest.approx([step.loss for step in expected.steps], rel=2e-2)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(
    clips: Clips, store: FeatureStore, tmp_path: Path, precision: str
) -> None:
    clip = clips[1]
    expected = train(clip, store, precision=precision).weights()
    interrupted = train(clip, store, until=STEPS // 2, precision=precision)
    save_checkpoint(interrupted, tmp_path)
    resumed = train(clip, store, resume=tmp_path, precision=precision)
    assert resumed.state.step == STEPS
    assert len(resumed.steps) == STEPS - interrupted.state.step
    differences = {name: float((value - expected[name]).abs().max()) for name, value in resumed.weights().items()}
    worst = max(differences, key=lambda name: differences[name])
    assert not differences[worst], f"{worst} differs by up to {differences[worst]:.3g}, which is more than any other"


@pytest.mark.parametrize("checkpoint_seconds", [0, 300])
def test_no_checkpoint_holds_weights_that_are_no_numbers(
    clip_folder: Path, store: FeatureStore, device: torch.device, tmp_path: Path, checkpoint_seconds: float
) -> None:
    """The first step of such a learning rate makes the weights so large that the next loss is NaN."""
    job = run.Job(
        seed=0,
        params=replace(PARAMS, lr=1e30),
        backbone=clip_folder,
        features=store.folder,
        id_features=tmp_path,
        ood_features=tmp_path,
        out=tmp_path / "model",
        work=tmp_path / "work",
        checkpoint_seconds=checkpoint_seconds,
    )
    with pytest.raises(NonFinite, match=r"loss .* at step \d+, batch keys"):
        run.run(job, Group(0, 1, device))
    assert not job.out.exists()
    for state in (job.work / run.CHECKPOINTS).glob(f"*/{STATE}"):
        assert all(value.isfinite().all() for value in load_file(state).values()), state
