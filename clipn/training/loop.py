"""Training of the "No" text encoder on cached features (arXiv 2308.12213, section 3.3).

The image tower and the "yes" text tower are frozen, so their features are computed once and read
from a store; a step runs nothing but the "No" text encoder, at the length that its captions need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import torch
from torch import Tensor, nn

from clipn.config import TrainParams
from clipn.errors import InvalidParams, NonFinite
from clipn.losses import image_text_binary_opposite, text_semantic_opposite
from clipn.models.no_encoder import NoTextEncoder
from clipn.models.packing import Packed
from clipn.optim import adamw, cosine_lr, set_lr
from clipn.training.distributed import Group
from clipn.training.step_log import Step
from clipn.training.stream import Batch

FIGURES = ("loss_yes", "loss_no", "loss_tso", "loss", "grad_norm", "logit_scale")
"""What the device tells of a step; fields of `Step`."""


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


class Launched:
    """A step that was given to the device, and whose figures may still be in the making.

    Args:
        step: its number and learning rate; everything else comes from `figures`.
        figures: `FIGURES` of the step as one tensor [6], on the device or on its way from there.
        started: when its batch was asked for.
        pairs: pairs of the step over all processes.
        keys: of this process's pairs.
        before: the step before, None for the first one.
    """

    def __init__(
        self, step: Step, figures: Tensor, started: float, pairs: int, keys: pa.ChunkedArray, before: Launched | None
    ) -> None:
        self._step, self._started, self._pairs, self._keys, self._before = step, started, pairs, keys, before
        self._figures = figures.to("cpu", non_blocking=True)
        self._arrived = None
        if figures.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        self.finished = math.nan

    def read(self) -> Step:
        """Wait for the step's end and return what it did.

        The rate is that of the device: a step counts from the end of the one before, or from its own start.

        Raises:
            NonFinite: the loss or the gradient became NaN or infinite; names the step and keys of its batch.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        self.finished = time.perf_counter()
        begun = self._started
        if self._before is not None and self._before.finished > begun:
            begun = self._before.finished
        self._before = None
        figures = dict(zip(FIGURES, self._figures.tolist(), strict=True))
        if not (math.isfinite(figures["loss"]) and math.isfinite(figures["grad_norm"])):
            keys = self._keys.to_pylist()
            raise NonFinite(
                f"loss {figures['loss']} and gradient norm {figures['grad_norm']} at step {self._step.step}, "
                f"batch keys {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}; "
                "lower train.lr, or look at these samples"
            )
        return replace(self._step, **figures, samples_per_second=self._pairs / (self.finished - begun))


def fit(
    state: State,
    batches: Iterator[Batch],
    *,
    steps: int,
    steps_per_epoch: int,
    params: TrainParams,
    logit_scale: float,
    group: Group,
    yes: Callable[[Tensor | Packed], Tensor] | None = None,
) -> Iterator[Launched]:
    """Train from `state.step` to `steps`, and yield after every step was launched.

    A GPU works behind the loop: whoever reads a step only after the next one was launched never lets it wait.
    `state` is whole and can be saved once the step that was launched last has been read. Nothing changes it any
    more after a step that was not finite, so the weights are then those of the step before, however late it is read.

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
    """
    encoder, device, optimizer = state.encoder, group.device, state.optimizer
    autocast = _autocast(params, device)
    wrapped = group.wrap(encoder)
    encoder.train()
    fixed_scale = torch.tensor(logit_scale, device=device)
    # The fused optimizer leaves everything as it is where this is 1, so no step waits for the host to look at the loss.
    failed = torch.zeros((), device=device)
    optimizer.found_inf = failed  # type: ignore[attr-defined]
    before: Launched | None = None
    for step in range(state.step, steps):
        started = time.perf_counter()
        batch = next(batches)
        lr = cosine_lr(step, steps, params.lr)
        set_lr(optimizer, lr)
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
        optimizer.zero_grad()
        # Gradients are averaged over the processes, but each one's is a part of the sum:
        # see clipn.training.distributed.
        (loss * group.size).backward()
        # Measured only: the reference does not clip.
        norm = nn.utils.get_total_norm([p.grad for p in encoder.parameters() if p.grad is not None])
        failed.copy_(torch.maximum(failed, 1 - (loss.isfinite() & norm.isfinite()).float()).detach())
        optimizer.step()
        encoder.clamp_scale()
        state.step = step + 1
        # One transfer for all of them.
        figures = torch.stack([binary.yes, binary.no, opposite, loss, norm, scale]).detach()
        launched = Launched(
            _unread(step, step // steps_per_epoch, lr), figures, started, params.batch_size, batch.keys, before
        )
        yield launched
        before = launched


def fuse(encoder: NoTextEncoder, params: TrainParams, device: torch.device) -> bool:
    """Return whether batches are to be packed with blocks, for one call of attention a layer.

    So it is on a GPU in bfloat16 (`clipn.models.attention`). Elsewhere one call for each length of caption is
    faster: on a CPU, and in float32 on a GPU, where blocks would compute what their mask then hides without the
    help of tensor cores.
    """
    return device.type == "cuda" and params.precision == "bfloat16" and encoder.encoder.takes_blocks


def _unread(step: int, epoch: int, lr: float) -> Step:
    """Return a step of which only its place in the run is known."""
    unknown = dict.fromkeys((*FIGURES, "samples_per_second"), math.nan)
    return Step(step=step, epoch=epoch, lr=lr, auroc_ctw=None, auroc_atd=None, **unknown)


def _autocast(params: TrainParams, device: torch.device) -> torch.autocast:
    """Raises InvalidParams where bfloat16 is asked for and the GPU has none; a CPU without it is slow but right."""
    half = params.precision == "bfloat16"
    if half and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InvalidParams(
            f"train.precision is bfloat16, which {torch.cuda.get_device_name(device)} does not compute in; set float32"
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
