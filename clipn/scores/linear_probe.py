"""The linear probe of the CLIP feature study (arXiv 2303.05828): a linear classifier on frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipn.errors import InvalidData, NonFinite
from clipn.optim import cosine_lr, set_lr
from clipn.utils.progress import Progress, silent
from clipn.utils.threads import torch_threads

Array = NDArray[np.float32]

EPOCHS = 100
LR = 1e-3
WEIGHT_DECAY = 1e-3
WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""
BATCH, LARGE_BATCH, MANY = 256, 8192, 100_000
"""Images of a batch; the larger one from `MANY` images on."""
MIN_STEPS = 2000
"""Steps at least. The study's sets give 15,000 and more, but a hundred passes over thirty images are a hundred steps,
and in these Adam moves no weight by more than about 0.05."""
CONSTANT = 1e-6
"""A feature is constant up to rounding if its standard deviation is no larger share of its largest value."""


@dataclass(frozen=True)
class LinearProbe:
    """A trained linear classifier of C classes on features of length P.

    Attributes:
        mean: of each feature over the images it was trained on [P].
        inverse_std: 1 / standard deviation of each feature over these images, 0 for a constant one [P].
        weight: on standardised features [C, P].
        bias: [C].
        losses: mean cross-entropy of each epoch, without weight decay.
    """

    mean: Array
    inverse_std: Array
    weight: Array
    bias: Array
    losses: tuple[float, ...]

    def standardise(self, features: Array) -> Array:
        """Features [N, P] as the weights take them."""
        return (features - self.mean) * self.inverse_std

    def logits(self, features: Array) -> Array:
        """Features [N, P] → [N, C]."""
        return self.standardise(features) @ self.weight.T + self.bias

    def folded(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same classifier on features as they come: weight [C, P] and bias [C]."""
        weight = self.weight.astype(np.float64) * self.inverse_std
        return weight, self.bias - weight @ self.mean


def train(
    features: Array,
    labels: NDArray[np.integer],
    classes: int,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> LinearProbe:
    """Train a probe: cross-entropy, Adam, half a cosine after a warm-up.

    Adam's `weight_decay` is meant, as in the study's code: the gradient of half the squared norm of weights and
    biases is added before Adam scales it. Order and initial weights are drawn on the CPU, so a seed means the same
    on every device. A constant feature, which tells the classes nothing, does not count later either.

    Args:
        features: [N, P].
        labels: class of each [N], in [0, classes).
        classes: C; those without an image are learned to be unlikely.
        seed: decides the order of the images and the initial weights.
        epochs: passes over the images; None takes `EPOCHS`, or as many as make `MIN_STEPS` steps.
        device: where it is computed.
        progress: told the epochs done and in all.

    Raises:
        InvalidData: a label is not one of the classes.
        NonFinite: a feature is NaN or infinite.
    """
    if (wrong := np.flatnonzero((labels < 0) | (labels >= classes))).size:
        raise InvalidData(
            f"image {wrong[0]} of those that fit the linear probe has class {labels[wrong[0]]}, but there are {classes}"
            " classes; give the classes and the images' labels of the same set"
        )
    x = torch.as_tensor(features, device=device)
    y = torch.as_tensor(labels.astype(np.int64), device=device)
    std, mean = torch.std_mean(x, dim=0, correction=0)
    if not torch.isfinite(std).all():
        row = np.flatnonzero(~np.isfinite(features).all(axis=1))
        where = f"feature of image {row[0]}" if row.size else "square of a feature"
        raise NonFinite(f"the linear probe cannot be fitted: a {where} is NaN or infinite; compute the features again")
    low, high = torch.aminmax(x, dim=0)
    inverse_std = torch.where(std <= CONSTANT * torch.maximum(high, -low), 0.0, 1 / std)

    generator = torch.Generator().manual_seed(seed)
    model = _linear(x.shape[1], classes, generator).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    batch = BATCH if len(x) < MANY else LARGE_BATCH
    per_epoch = -(-len(x) // batch)
    epochs = max(EPOCHS, -(-MIN_STEPS // per_epoch)) if epochs is None else epochs
    steps = epochs * per_epoch
    step, losses = 0, []
    # A step on a small batch takes a millisecond. Threads that share it gain little where all cores are free, and
    # where one is not they wait for each other: with two threads on two busy cores a step took thirty times as long.
    with torch_threads(1 if batch == BATCH else None):
        for epoch in range(epochs):
            total = torch.zeros((), device=device)
            for rows in torch.randperm(len(x), generator=generator).to(device).split(batch):
                set_lr(optimizer, cosine_lr(step, steps, LR, int(WARMUP * steps)))
                loss = F.cross_entropy(model((x[rows] - mean) * inverse_std), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(rows)
                step += 1
            losses.append(total)
            progress(epoch + 1, epochs)
    means = (torch.stack(losses) / len(x)).tolist()
    return LinearProbe(_numpy(mean), _numpy(inverse_std), _numpy(model.weight), _numpy(model.bias), tuple(means))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A layer with the initial weights of `torch.nn.Linear`, which itself draws them from the global generator."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()
