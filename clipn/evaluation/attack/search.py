"""OOD images moved towards ID images in the space of the features (arXiv 2303.05828, adversarial OOD).

A white box attack on the image tower: the pixels of an OOD image y are changed until the tower takes
it for an ID image x, while to the eye it stays y. With f for the features before the projection, or
after it where a tower gives no others,

    loss(δ) = −cos(f(y + δ), f(x)) + λ · (Σ (∂_h δ)² + Σ (∂_w δ)²) / (3·H·W)

where ∂ are differences of neighbouring pixels of one channel. λ = 5·10³ gives smooth changes, λ = 0
patchy ones. There is no other budget than that y + δ stays a picture, from 0 to 1.

Two things differ from the released notebook of the study: each image has its own loss and its own
random start, so it does not matter with which others it shares a batch; and what comes out is rounded
to 8 bit, so that the attack is a picture in a file and not a tensor of floats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, wait

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clipn.config import AttackParams
from clipn.errors import NonFinite
from clipn.features import crops
from clipn.features.crops import Crops
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.utils import threads
from clipn.utils.progress import Progress, silent
from clipn.utils.sampling import stream

PATCHY = 0.0
"""λ of patchy changes."""
AT_ONCE = 4
"""Batches at the same time at most: each keeps what the tower's backward pass needs."""


def kinds(params: AttackParams) -> dict[str, float]:
    """Return kind of change → λ."""
    return {"smooth": params.smooth_weight, "patchy": PATCHY}


def smoothness(change: Tensor) -> Tensor:
    """Return the mean squared image gradients of each change [N, C, H, W] → [N].

    Differences of neighbours along each axis, squared and summed, divided by C·H·W: across the border
    they count as 0.
    """
    down, right = change.diff(dim=2), change.diff(dim=3)
    return (down.square().sum(dim=(1, 2, 3)) + right.square().sum(dim=(1, 2, 3))) / change[0].numel()


def losses(features: Tensor, goals: Tensor, change: Tensor, weight: float) -> Tensor:
    """Return the loss of each image [N].

    Args:
        features: of the changed images [N, P].
        goals: features of the targets [N, P].
        change: δ, [N, 3, H, W].
        weight: λ.
    """
    return weight * smoothness(change) - F.cosine_similarity(features, goals)


def move(
    clip: Backbone,
    starts: Crops,
    targets: Crops,
    names: Sequence[str],
    weight: float,
    params: AttackParams,
    *,
    workers: int = 1,
    progress: Progress = silent,
) -> Crops:
    """Move images towards targets.

    Args:
        clip: the backbone, frozen as `clipn.models.backbone.load` gives it.
        starts: OOD images [N, H, W, 3].
        targets: an ID image for each [N, H, W, 3].
        names: of the OOD images; with `params.seed` they decide where the search starts.
        weight: λ.
        params: steps, step size, batch size and noise of the start.
        workers: batches searched for at the same time on a CPU, up to `AT_ONCE`; they share torch's threads.
        progress: called with the images times steps done and in all.

    Returns:
        the moved images [N, H, W, 3]. On a CPU the same bytes each time; a GPU adds up in varying order.

    Raises:
        NonFinite: the gradient of an image is NaN or infinite.
    """
    features, firsts, stopped = _features(clip), range(0, len(starts), params.batch_size), threading.Event()
    done = dict.fromkeys(firsts, 0)

    def one(first: int) -> Crops:
        part = slice(first, first + params.batch_size)

        def after_step(step: int) -> None:
            done[first] = step * len(starts[part])
            if stopped.is_set():
                raise CancelledError

        pictures, goals = (
            crops.colours(torch.from_numpy(of_all[part]).to(clip.device)) for of_all in (starts, targets)
        )
        with torch.no_grad():
            goals = features(goals)
        change = _search(features, pictures, goals, _start(pictures, names[part], params), weight, params, after_step)
        if bad := (~change.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist():
            raise NonFinite(f"the change of image {names[first + bad[0]]!r} is not finite; lower attack.lr")
        colours = (pictures + change).clamp(0, 1).mul(255).round().to(torch.uint8)
        return colours.movedim(1, -1).cpu().numpy()

    with threads.pool(min(workers, AT_ONCE, len(firsts)) if clip.device.type == "cpu" else 1) as pool:
        jobs = [pool.submit(one, first) for first in firsts]
        waiting = set(jobs)
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_EXCEPTION)
                for job in finished:
                    job.result()
                progress(sum(done.values()), len(starts) * params.steps)
        finally:
            stopped.set()
    return np.concatenate([job.result() for job in jobs])


def _features(clip: Backbone) -> Callable[[Tensor], Tensor]:
    """Colours from 0 to 1, [N, 3, H, W] → features [N, P] in float32, with gradients."""
    normalise = crops.normaliser(clip)

    def features(colours: Tensor) -> Tensor:
        encoded = image_tower.encode(clip.model, normalise(colours))
        return (encoded.projected if encoded.pooled is None else encoded.pooled).float()

    return features


def _start(pictures: Tensor, names: Sequence[str], params: AttackParams) -> Tensor:
    """Where the search starts: noise of each image's own, [N, 3, H, W]."""
    shape = pictures.shape[1:]

    def drawn(name: str) -> NDArray[np.float32]:
        return stream("attack", params.seed, name).standard_normal(tuple(shape), np.float32)

    noise = torch.from_numpy(np.stack([drawn(name) for name in names])).to(pictures.device)
    return noise.mul(params.start_noise).to(memory_format=torch.channels_last)


def _search(
    features: Callable[[Tensor], Tensor],
    pictures: Tensor,
    goals: Tensor,
    change: Tensor,
    weight: float,
    params: AttackParams,
    after_step: Callable[[int], None],
) -> Tensor:
    """The change of each image after all steps, with which every pixel stays from 0 to 1."""
    low, high = -pictures, 1 - pictures
    change = change.clamp(low, high).requires_grad_()
    optimizer = torch.optim.Adam([change], lr=params.lr)
    for step in range(params.steps):
        optimizer.zero_grad()
        # The sum leaves each image the gradient of its own loss; Adam treats every pixel by itself.
        losses(features(pictures + change), goals, change, weight).sum().backward()
        optimizer.step()
        with torch.no_grad():
            change.clamp_(low, high)
        after_step(step + 1)
    return change.detach()
