"""The "No" text encoder: what CLIPN adds to CLIP, and the only thing it trains (arXiv 2308.12213, 3.2)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipn.errors import BackboneMismatch, InvalidData, MissingInput
from clipn.models.packing import Packed
from clipn.models.text_encoder import TextEncoder
from clipn.utils.files import atomic_folder, read_json, write_json

WEIGHTS = "no_encoder.safetensors"
CONFIG = "config.json"

MAX_LOGIT_SCALE = 100.0
"""CLIP's own bound on the factor that it learns (arXiv 2103.00020, section 2.5)."""


@dataclass(frozen=True)
class NoEncoderConfig:
    """What it takes to load and use a trained "No" text encoder.

    Attributes:
        variant: `learnable` (prompts do the negation) or `handcrafted` (paired templates do).
        n_prompts: number of learnable prompts, 0 for the handcrafted variant.
        paired_templates: name of a paired set of `clipn.prompts.templates`; handcrafted variant only.
        learned_scale: whether the factor on cosine similarities was trained too.
        backbone: fingerprint of the CLIP that it was trained with.
        seed: of the training run; None for a model that was trained elsewhere.
    """

    variant: str
    n_prompts: int
    paired_templates: str | None
    learned_scale: bool
    backbone: str
    seed: int | None


class NoTextEncoder(nn.Module):
    """A copy of CLIP's text encoder with learnable no-prompts added to its token embeddings.

    It starts as the "yes" encoder: all prompts are zero. In training every caption draws one of the
    prompts or their mean, at test it takes the mean.

    Args:
        model: an open_clip model; its text parts are copied.
        n_prompts: number of learnable prompts, [n_prompts, context length, width]; 0 makes the encoder
            of the hand-crafted variant, where the text itself says "no".
        learn_scale: whether the factor on cosine similarities is a parameter too; it starts at `model`'s.

    Raises:
        UnsupportedModel: the text tower is not a causal transformer read at its end token.
    """

    prompts: nn.Parameter | None
    log_scale: nn.Parameter | None

    def __init__(self, model: nn.Module, n_prompts: int = 16, learn_scale: bool = False) -> None:
        super().__init__()
        self.encoder = TextEncoder.copy_of(model)
        self.encoder.requires_grad_(True)
        shape = (n_prompts, self.encoder.context_length, self.encoder.width)
        self.register_parameter("prompts", nn.Parameter(torch.zeros(shape)) if n_prompts else None)
        scale: Tensor = model.logit_scale  # type: ignore[assignment]
        self.register_parameter("log_scale", nn.Parameter(scale.detach().clone()) if learn_scale else None)

    @property
    def n_prompts(self) -> int:
        return 0 if self.prompts is None else self.prompts.shape[0]

    @property
    def logit_scale(self) -> float | None:
        """Return the factor on cosine similarities if it was learned, else None."""
        return None if self.log_scale is None else float(self.log_scale.detach().exp())

    def forward(self, tokens: Tensor | Packed, prompt_index: Tensor | None = None) -> Tensor:
        """Encode texts with the learned "no".

        Args:
            tokens: token ids [B, L], padded with 0, or what `TextEncoder.pack` makes of them.
            prompt_index: for each text which prompt to add, [B], 0 … n_prompts - 1, or n_prompts for
                the mean of all, on any device; None takes the mean for all, as at test.

        Returns:
            unit-norm features [B, D].
        """
        if self.prompts is None:
            return self.encoder(tokens)
        if prompt_index is None:
            prompt_index = torch.full((len(tokens),), self.n_prompts, device=self.prompts.device)
        with_mean = torch.cat([self.prompts, self.prompts.mean(dim=0, keepdim=True)])
        return self.encoder(tokens, with_mean, prompt_index)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep a learned factor between 1 and 100, as CLIP does after every step."""
        if self.log_scale is not None:
            self.log_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))


def save(encoder: NoTextEncoder, config: NoEncoderConfig, folder: str | Path) -> None:
    """Write weights and configuration to `folder`, whole or not at all."""
    with atomic_folder(folder) as temporary:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
        save_file(state, temporary / WEIGHTS)
        write_json(temporary / CONFIG, asdict(config))


def read_config(folder: str | Path) -> NoEncoderConfig:
    """Read the configuration that `save` wrote.

    Raises:
        MissingInput, InvalidData: the file is not there or not of this kind.
    """
    path = Path(folder) / CONFIG
    try:
        return NoEncoderConfig(**read_json(path))
    except TypeError as error:
        raise InvalidData(f'{path} does not describe a "No" text encoder: {error}') from error


def load(folder: str | Path, model: nn.Module, backbone: str) -> NoTextEncoder:
    """Read a trained "No" text encoder.

    Args:
        folder: what `save` wrote.
        model: the open_clip model that it was trained with.
        backbone: the fingerprint of `model`.

    Raises:
        MissingInput: a file is not there.
        InvalidData: a file is damaged or does not fit `model`.
        BackboneMismatch: it was trained with another backbone.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config.backbone != backbone:
        raise BackboneMismatch(
            f"{folder} was trained with backbone {config.backbone}, but this is {backbone}; "
            "use the backbone it was trained with, or train again"
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise MissingInput(f"{weights} does not exist; run 'dvc repro' to train, or 'dvc pull' to fetch it")
    encoder = NoTextEncoder(model, config.n_prompts, config.learned_scale)
    try:
        encoder.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InvalidData(f"{weights} does not fit this backbone or is damaged: {error}") from error
    return encoder.eval()
