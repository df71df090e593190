"""Training of the "No" text encoder on cached features (arXiv 2308.12213, section 3.3).

The image tower and the "yes" text tower are frozen, so their features are computed once and read
from a store; a step runs nothing but the "No" text encoder, at the length that its captions need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from clipn.config import TrainParams
from clipn.errors import InvalidParams, NonFinite
from clipn.losses import image_text_binary_opposite, text_semantic_opposite
from clipn.models.no_encoder import NoTextEncoder
from clipn.optim import adamw, cosine_lr, set_lr
from clipn.training.distributed import Group
from clipn.training.step_log import Step
from clipn.training.stream import Batch


@dataclass
class State:
    """What a step changes, and all that a checkpoint has to hold.

    Attributes:
        encoder: the "No" text encoder, on the device where training runs.
        optimizer: over its parameters.
        step: number of finished steps.
    """

    encoder: NoTextEncoder
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def start(cls, encoder: NoTextEncoder, params: TrainParams) -> State:
        """Make the state before the first step."""
        optimizer = adamw(
            encoder,
            lr=params.lr,
            betas=(params.beta1, params.beta2),
            eps=params.eps,
            weight_decay=params.weight_decay,
        )
        return cls(encoder, optimizer)


def fit(
    state: State,
    batches: Iterator[Batch],
    *,
    steps: int,
    steps_per_epoch: int,
    params: TrainParams,
    logit_scale: float,
    group: Group,
    yes: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Step]:
    """Train from `state.step` to `steps`, and yield after every step; `state` is then whole and can be saved.

    Args:
        state: changed in place.
        batches: this process's parts of the batches from `state.step` on.
        steps: number of all steps.
        steps_per_epoch: for the epoch column of the curve.
        params: losses, optimizer and arithmetic.
        logit_scale: the backbone's factor on cosine similarities; unused where the encoder learns its own.
        group: the processes that train together.
        yes: the frozen "yes" text encoder, for batches whose "yes" sentences are drawn.

    Raises:
        InvalidParams: the device cannot compute in `params.precision`.
        NonFinite: the loss became NaN or infinite; names the step and keys of its batch.
    """
    encoder, device = state.encoder, group.device
    autocast = _autocast(params, device)
    wrapped = group.wrap(encoder)
    encoder.train()
    fixed_scale = torch.tensor(logit_scale, device=device)
    for step in range(state.step, steps):
        start = time.perf_counter()
        batch = next(batches)
        lr = cosine_lr(step, steps, params.lr)
        set_lr(state.optimizer, lr)
        with autocast:
            no_texts = wrapped(batch.tokens, batch.prompts)
            texts = batch.texts
            if texts is None:
                assert yes is not None
                assert batch.yes_tokens is not None
                with torch.no_grad():
                    texts = yes(batch.yes_tokens)
        images, texts, no_texts = (
            group.gather(features.to(device, non_blocking=True).float()) for features in (batch.images, texts, no_texts)
        )
        scale = fixed_scale if encoder.log_scale is None else group.once(encoder.log_scale.exp())
        binary = image_text_binary_opposite(images, texts, no_texts, scale)
        opposite = text_semantic_opposite(texts, no_texts)
        loss = params.weight_yes * binary.yes + params.weight_no * binary.no + params.weight_tso * opposite
        state.optimizer.zero_grad()
        # Gradients are averaged over the processes, but each one's is a part of the sum:
        # see clipn.training.distributed.
        (loss * group.size).backward()
        # An infinite bound measures the norm and clips nothing: the reference does not clip.
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), math.inf)
        # One transfer for all of them: on a GPU each would wait for the step to end.
        yes_loss, no_loss, tso, total, grad_norm, used_scale = torch.stack(
            [binary.yes, binary.no, opposite, loss, norm, scale]
        ).tolist()
        if not (math.isfinite(total) and math.isfinite(grad_norm)):
            keys = batch.keys.to_pylist()
            raise NonFinite(
                f"loss {total} and gradient norm {grad_norm} at step {step}, batch keys "
                f"{', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}; "
                "lower train.lr, or look at these samples"
            )
        state.optimizer.step()
        encoder.clamp_scale()
        state.step = step + 1
        rate = params.batch_size / (time.perf_counter() - start)
        yield Step(
            step=step,
            epoch=step // steps_per_epoch,
            loss_yes=yes_loss,
            loss_no=no_loss,
            loss_tso=tso,
            loss=total,
            grad_norm=grad_norm,
            lr=lr,
            logit_scale=used_scale,
            samples_per_second=rate,
            auroc_ctw=None,
            auroc_atd=None,
        )


def _autocast(params: TrainParams, device: torch.device) -> torch.autocast:
    """Raises InvalidParams where bfloat16 is asked for and the GPU has none; a CPU without it is slow but right."""
    half = params.precision == "bfloat16"
    if half and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InvalidParams(
            f"train.precision is bfloat16, which {torch.cuda.get_device_name(device)} does not compute in; set float32"
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
