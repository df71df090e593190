"""Training of the no text encoder on cached features (arXiv 2308.12213, section 3.3).

The image tower and the "yes" text tower are frozen, so their features are computed once and read
from a store; a step runs nothing but the no encoder, at the length that its captions need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clipn.config import TrainParams
from clipn.errors import InvalidParams, NonFinite
from clipn.losses import image_text_binary_opposite, text_semantic_opposite
from clipn.no_encoder import NoTextEncoder
from clipn.schedule import adamw, cosine_lr, set_lr
from clipn.store import FeatureBatch, unit_norm


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        keys: sample keys, for messages.
        images, texts: unit-norm features [B, D], float32.
        tokens: token ids [B, L], padded with 0.
        prompts: which no-prompt each caption draws, [B]; n_prompts stands for the mean.
    """

    keys: Sequence[str]
    images: Tensor
    texts: Tensor
    tokens: Tensor
    prompts: Tensor


@dataclass(frozen=True)
class Step:
    """What one step did; a row of the training curve."""

    step: int
    epoch: int
    loss_yes: float
    loss_no: float
    loss_tso: float
    loss: float
    grad_norm: float
    lr: float


def fit(
    encoder: NoTextEncoder,
    batches: Iterator[Batch],
    *,
    steps: int,
    steps_per_epoch: int,
    params: TrainParams,
    logit_scale: float,
    on_step: Callable[[Step], None] = lambda step: None,
) -> list[Step]:
    """Train `encoder` in place.

    Args:
        encoder: on the device where training shall run.
        batches: at least `steps` of them.
        steps: number of optimizer steps.
        steps_per_epoch: for the epoch column of the curve.
        params: optimizer and learning rate.
        logit_scale: the backbone's factor on cosine similarities, which stays fixed.
        on_step: called after every step.

    Returns:
        one `Step` for each step.

    Raises:
        NonFinite: the loss became NaN or infinite; names the step and keys of its batch.
    """
    device = encoder.prompts.device
    encoder.train()
    optimizer = adamw(
        encoder,
        lr=params.lr,
        betas=(params.beta1, params.beta2),
        eps=params.eps,
        weight_decay=params.weight_decay,
    )
    scale = torch.tensor(logit_scale, device=device)
    history: list[Step] = []
    for step in range(steps):
        batch = next(batches)
        lr = cosine_lr(step, steps, params.lr)
        set_lr(optimizer, lr)
        texts = batch.texts.to(device)
        no_texts = encoder(batch.tokens.to(device), batch.prompts.to(device))
        binary = image_text_binary_opposite(batch.images.to(device), texts, no_texts, scale)
        opposite = text_semantic_opposite(texts, no_texts)
        loss = (binary.yes + binary.no + opposite) / 2
        optimizer.zero_grad()
        loss.backward()
        # An infinite bound measures the norm and clips nothing: the reference does not clip.
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), math.inf)
        # One transfer for all of them: on a GPU each would wait for the step to end.
        yes, no, tso, total, grad_norm = torch.stack([binary.yes, binary.no, opposite, loss, norm]).tolist()
        if not (math.isfinite(total) and math.isfinite(grad_norm)):
            raise NonFinite(
                f"loss {total} and gradient norm {grad_norm} at step {step}, batch keys "
                f"{', '.join(batch.keys[:8])}{' …' if len(batch.keys) > 8 else ''}; "
                "lower train.lr, or look at these samples"
            )
        optimizer.step()
        history.append(Step(step, step // steps_per_epoch, yes, no, tso, total, grad_norm, lr))
        on_step(history[-1])
    encoder.eval()
    return history


def steps_per_epoch(pairs: int, batch_size: int) -> int:
    """Full batches in an epoch; the remainder of each epoch's shuffle is left out.

    Raises:
        InvalidParams: not even one batch.
    """
    if pairs < batch_size:
        raise InvalidParams(
            f"train.batch_size is {batch_size}, but there are only {pairs} training pairs; "
            "lower it or take more captions"
        )
    return pairs // batch_size


def draw_batches(pairs: FeatureBatch, params: TrainParams, seed: int) -> Iterator[Batch]:
    """Endless shuffled batches; the order and the drawn prompts depend on `seed` and the epoch alone.

    Args:
        pairs: training features, as `FeatureStore.load` gives them.
        params: batch size, number of prompts and whether their mean may be drawn.
        seed: of the training run.
    """
    assert pairs.text is not None
    assert pairs.tokens is not None
    full_batches = steps_per_epoch(len(pairs.keys), params.batch_size)
    choices = params.n_prompts + int(params.draw_mean)
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(pairs.keys))[: full_batches * params.batch_size]
        for rows in order.reshape(full_batches, params.batch_size):
            yield Batch(
                keys=[pairs.keys[row] for row in rows],
                images=torch.from_numpy(unit_norm(pairs.image[rows])),
                texts=torch.from_numpy(unit_norm(pairs.text[rows])),
                tokens=pad_sequence([torch.from_numpy(pairs.tokens[row].astype(np.int64)) for row in rows], True),
                prompts=torch.from_numpy(rng.integers(choices, size=len(rows))),
            )
        epoch += 1
