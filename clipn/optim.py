"""Learning rate and weight decay as CLIP and CLIPN use them."""

from __future__ import annotations

import math

import torch
from torch import nn


def cosine_lr(step: int, steps: int, peak: float, warmup: int = 0) -> float:
    """Return the learning rate of step `step`: linear over `warmup` steps, then half a cosine to zero.

    Args:
        step: counted from 0; the rate is set before the step.
        steps: number of all steps.
        peak: the highest rate.
        warmup: number of steps in which the rate rises.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def adamw(
    model: nn.Module, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """Make AdamW over the trainable parameters; those of fewer than two dimensions (norms, biases) do not decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameter groups the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
