"""The two losses of CLIPN (arXiv 2308.12213, section 3.3), in log space.

The no-probability of a pair is a softmax over (yes logit, no logit), so with d = no - yes
-log p_no = softplus(-d) and -log(1 - p_no) = softplus(d): no exponential is ever taken of a logit,
and no logarithm of a probability that underflowed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# The reference keeps the square root's gradient finite with this constant; results depend on it.
DISTANCE_EPS = 1e-4


class BinaryOpposite(NamedTuple):
    """The two parts of the image-text binary-opposite loss, scalars."""

    yes: Tensor
    no: Tensor


def image_text_binary_opposite(images: Tensor, texts: Tensor, no_texts: Tensor, logit_scale: Tensor) -> BinaryOpposite:
    """Return the ITBO loss (paper, equations 5 to 7): a caption's "no" matches all images but its own.

    yes = -mean_i log(1 - p_no[i, i]), no = -mean_{i≠j} log p_no[i, j]

    Args:
        images: unit-norm image features [B, D].
        texts: unit-norm "yes" features of the same pairs [B, D].
        no_texts: unit-norm "no" features of the same captions [B, D].
        logit_scale: factor on cosine similarities, scalar.
    """
    difference = logit_scale * (images @ (no_texts - texts).T)
    matched = F.softplus(difference.diagonal())
    unmatched = F.softplus(-difference)
    batch = len(images)
    no = (unmatched.sum() - unmatched.diagonal().sum()) / max(batch * (batch - 1), 1)
    return BinaryOpposite(matched.mean(), no)


def text_semantic_opposite(texts: Tensor, no_texts: Tensor) -> Tensor:
    """Return the TSO loss (paper, equation 8): the "no" of a caption lies opposite its "yes" on the unit sphere.

    mean(2 - ‖g - h‖) with ‖g - h‖ = sqrt(2 - 2 g·h + 1e-4)

    Args:
        texts: unit-norm "yes" features [B, D].
        no_texts: unit-norm "no" features [B, D].
    """
    distance = torch.sqrt(2 - 2 * (texts * no_texts).sum(dim=-1) + DISTANCE_EPS)
    return (2 - distance).mean()
