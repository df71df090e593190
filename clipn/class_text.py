"""What the texts say about a set of classes: the features that every score compares images with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipn.backbone import Backbone
from clipn.features import encode_texts
from clipn.no_encoder import NoTextEncoder
from clipn.scores import Evidence


def class_evidence(
    clip: Backbone, no: NoTextEncoder, names: Sequence[str], templates: Sequence[str], logit_scale: float | None
) -> Evidence:
    """The "yes" and "no" features of classes.

    Args:
        clip: the backbone.
        no: a no encoder that was trained with it, on the same device.
        names: C class names.
        templates: sentences with one `{}` for the name; the same ones for both encoders, since the
            no-prompt does the negation.
        logit_scale: factor on cosine similarities; None takes the backbone's own.
    """
    return Evidence(
        yes=class_features(clip.text, clip.tokenize, names, templates, clip.device),
        no=class_features(no, clip.tokenize, names, templates, clip.device),
        logit_scale=clip.logit_scale if logit_scale is None else logit_scale,
    )


def class_features(
    encode: Callable[[Tensor], Tensor],
    tokenize: Callable[[Sequence[str]], Tensor],
    names: Sequence[str],
    templates: Sequence[str],
    device: torch.device,
) -> NDArray[np.float32]:
    """One unit-norm feature per class [C, D]: the renormalised mean over templates of unit-norm features.

    Args:
        encode: token ids → unit-norm features; the yes or the no text encoder.
        tokenize: texts → token ids.
        names: C class names.
        templates: sentences with one `{}` for the name.
        device: where `encode` runs.
    """
    texts = [template.format(name) for name in names for template in templates]
    features = encode_texts(encode, tokenize(texts), device).reshape(len(names), len(templates), -1)
    mean = features.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
