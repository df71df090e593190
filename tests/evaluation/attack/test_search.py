"""Images that are moved in feature space: how far they come, and how they may change on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from clipn.config import AttackParams
from clipn.errors import NonFinite
from clipn.evaluation.attack import search
from clipn.evaluation.attack.search import losses, move, smoothness
from clipn.features import crops
from clipn.features.crops import Crops
from clipn.models.backbone import Backbone
from tests.conftest import TINY
from tests.small_sets import RESNET, picture, tiny

PARAMS = AttackParams(
    benchmarks=(), methods=(), images=6, steps=40, lr=1e-2, batch_size=4, start_noise=1e-3, smooth_weight=1.0, seed=0
)
NAMES = tuple(f"far/{i}" for i in range(6))


@pytest.fixture(scope="module", params=[TINY, RESNET], ids=["vit", "resnet"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny(tmp_path_factory.mktemp("clip"), request.param)


def pictures(clip: Backbone, *seeds: int) -> Crops:
    crop = crops.cropper(clip)
    return np.stack([crop(picture(seed)) for seed in seeds])


def cosines(clip: Backbone, a: Crops, b: Crops) -> NDArray[np.float32]:
    """Of the features before the projection, by the tower's own preprocessing and hooks."""
    seen: list[torch.Tensor] = []
    visual = clip.model.visual
    if hasattr(visual, "attnpool"):
        hook = visual.attnpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(dim=(2, 3))))
    else:
        hook = visual.ln_post.register_forward_hook(
            lambda _, inputs, out: seen.append(out if out.ndim == 2 else out[:, 0])
        )
    with torch.no_grad():
        for part in (a, b):
            clip.model.encode_image(crops.normaliser(clip)(crops.colours(torch.from_numpy(part))))
    hook.remove()
    return F.cosine_similarity(*seen).numpy()


def test_images_come_nearer_to_their_targets_and_smooth_ones_stay_smooth(clip: Backbone) -> None:
    starts, targets = pictures(clip, *range(6)), pictures(clip, *range(10, 16))
    before = cosines(clip, starts, targets)
    moved = {kind: move(clip, starts, targets, NAMES, weight, PARAMS) for kind, weight in search.kinds(PARAMS).items()}
    for found in moved.values():
        assert (found.shape, found.dtype) == (starts.shape, np.uint8)
        assert (1 - cosines(clip, found, targets) < 0.3 * (1 - before)).all()
    smooth, patchy = (
        np.abs(np.diff(moved[kind].astype(float) - starts, axis=2)).mean() for kind in ("smooth", "patchy")
    )
    assert smooth < 0.5 * patchy
    assert moved["smooth"].tobytes() != starts.tobytes()


def test_the_same_seed_gives_the_same_bytes_in_batches_of_any_size(clip: Backbone) -> None:
    starts, targets = pictures(clip, *range(5)), pictures(clip, *range(10, 15))
    params = replace(PARAMS, steps=8, lr=1e-3)
    found = move(clip, starts, targets, NAMES[:5], 0, params)
    assert move(clip, starts, targets, NAMES[:5], 0, params).tobytes() == found.tobytes()
    for size in (1, 5):
        # Sums over other shapes round otherwise, which can tip a grey level here and there.
        other = move(clip, starts, targets, NAMES[:5], 0, replace(params, batch_size=size))
        difference = np.abs(other.astype(int) - found)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    for changed in (replace(params, seed=1, start_noise=0.1), replace(params, start_noise=0.1)):
        assert move(clip, starts, targets, NAMES[:5], 0, changed).tobytes() != found.tobytes()


def test_the_start_is_noise_of_the_images_own(clip: Backbone) -> None:
    grey = np.full((2, *pictures(clip, 0).shape[1:]), 128, np.uint8)
    params = replace(PARAMS, steps=1, lr=1e-9, start_noise=0.05)
    both = move(clip, grey, grey, NAMES[:2], 0, params).astype(int) - 128
    assert both.std() == pytest.approx(0.05 * 255, rel=0.1)
    alone = move(clip, grey[1:], grey[1:], NAMES[1:2], 0, params).astype(int) - 128
    assert (alone[0] == both[1]).all()
    assert abs(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 0.15


def test_pixels_stay_from_black_to_white(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady pull to brighter pixels, under which every step of Adam is `lr`, lightens black and leaves white."""
    shape = pictures(clip, 0).shape
    starts = np.stack([np.zeros(shape[1:], np.uint8), np.full(shape[1:], 255, np.uint8)])

    def brighter(found: torch.Tensor, goals: torch.Tensor, change: torch.Tensor, weight: float) -> torch.Tensor:
        return -change.sum(dim=(1, 2, 3))

    monkeypatch.setattr(search, "losses", brighter)
    moved = move(clip, starts, starts, NAMES[:2], 0, replace(PARAMS, steps=10, lr=0.02, start_noise=0.0))
    assert (moved[0] == round(10 * 0.02 * 255)).all()
    assert (moved[1] == 255).all()
    moved = move(clip, starts, starts, NAMES[:2], 0, replace(PARAMS, steps=100, lr=0.02, start_noise=0.0))
    assert (moved == 255).all()


def test_smoothness_by_hand() -> None:
    change = torch.tensor([[[[0.0, 1.0], [3.0, 7.0]]], [[[0.0, 2.0], [6.0, 14.0]]]])
    # Down: 3² + 6²; right: 1² + 4²; over four pixels. Twice the change has four times the value.
    assert smoothness(change).tolist() == [62 / 4, 62.0]


def test_the_loss_and_its_gradient_by_hand() -> None:
    found, goals = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    change = torch.tensor([[[[0.0, 0.5, 0.25]]]], requires_grad=True)
    loss = losses(found, goals, change, 30.0)
    # Differences ½ and −¼ over three pixels: (¼ + 1/16) / 3; cosine 3/5.
    assert loss.tolist() == [pytest.approx(30 * 0.3125 / 3 - 0.6)]
    loss.sum().backward()
    assert change.grad is not None
    # d/dδ of 10·((δ₁−δ₀)² + (δ₂−δ₁)²): 10·(−2·½, 2·½ + 2·¼, −2·¼)
    assert change.grad.flatten().tolist() == pytest.approx([-10.0, 15.0, -5.0])


def test_progress_counts_images_and_steps(clip: Backbone) -> None:
    told: list[tuple[int, int]] = []
    starts = pictures(clip, *range(6))
    move(clip, starts, starts, NAMES, 0, replace(PARAMS, steps=2), progress=lambda *counts: told.append(counts))
    assert told == sorted(told)
    assert told[-1] == (12, 12)


def test_batches_at_the_same_time_make_no_difference(clip: Backbone) -> None:
    starts, targets = pictures(clip, *range(6)), pictures(clip, *range(10, 16))
    params, threads = replace(PARAMS, steps=3, batch_size=2), torch.get_num_threads()
    torch.set_num_threads(1)
    alone, together = (move(clip, starts, targets, NAMES, 0, params, workers=workers) for workers in (1, 3))
    torch.set_num_threads(threads)
    assert alone.tobytes() == together.tobytes()


def test_an_error_ends_the_other_batches(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait are not begun, and one that runs stops after its step."""
    steps = 0

    def failing(found: torch.Tensor, goals: torch.Tensor, change: torch.Tensor, weight: float) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise RuntimeError("out of memory")
        return change.sum(dim=(1, 2, 3))

    monkeypatch.setattr(search, "losses", failing)
    starts = pictures(clip, *range(6))
    with pytest.raises(RuntimeError, match="out of memory"):
        move(clip, starts, starts, NAMES, 0, replace(PARAMS, steps=100_000, batch_size=1), workers=2)


def test_nothing_but_the_change_gets_a_gradient(clip: Backbone) -> None:
    before: dict[str, torch.Tensor] = {name: value.clone() for name, value in clip.model.state_dict().items()}
    starts = pictures(clip, 0, 1)
    move(clip, starts, pictures(clip, 2, 3), NAMES[:2], 5.0, replace(PARAMS, steps=2))
    assert all(parameter.grad is None for parameter in clip.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())
    assert not clip.model.training


def test_a_change_that_is_not_finite_is_named(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(found: torch.Tensor, goals: torch.Tensor, change: torch.Tensor, weight: float) -> torch.Tensor:
        return change.sum(dim=(1, 2, 3)) * torch.tensor([1.0, torch.nan])

    monkeypatch.setattr(search, "losses", broken)
    starts = pictures(clip, 0, 1)
    with pytest.raises(NonFinite, match=r"the change of image 'far/1' is not finite; lower attack\.lr"):
        move(clip, starts, starts, NAMES[:2], 0, replace(PARAMS, steps=2))
