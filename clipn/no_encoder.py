"""The no text encoder: what CLIPN adds to CLIP, and the only thing it trains (arXiv 2308.12213, 3.2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipn.errors import BackboneMismatch, InvalidData, MissingInput
from clipn.io import atomic_folder, read_json, write_json
from clipn.text import TextEncoder

WEIGHTS = "no_encoder.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class NoEncoderConfig:
    """What has to be known to load a trained no encoder.

    Attributes:
        n_prompts: number of learnable prompts.
        backbone: fingerprint of the CLIP that it was trained with.
        seed: of the training run.
    """

    n_prompts: int
    backbone: str
    seed: int


class NoTextEncoder(nn.Module):
    """A copy of CLIP's text encoder with learnable no-prompts added to its token embeddings.

    It starts as the "yes" encoder: all prompts are zero. In training every caption draws one of the
    prompts or their mean, at test it takes the mean.

    Args:
        model: an open_clip model; its text parts are copied.
        n_prompts: number of learnable prompts, [n_prompts, context length, width].

    Raises:
        UnsupportedModel: the text tower is not a causal transformer read at its end token.
    """

    def __init__(self, model: nn.Module, n_prompts: int = 16) -> None:
        super().__init__()
        self.encoder = TextEncoder.copy_of(model)
        self.encoder.requires_grad_(True)
        self.prompts = nn.Parameter(torch.zeros(n_prompts, self.encoder.context_length, self.encoder.width))

    @property
    def n_prompts(self) -> int:
        return self.prompts.shape[0]

    def forward(self, tokens: Tensor, prompt_index: Tensor | None = None) -> Tensor:
        """Encode the "no" of texts.

        Args:
            tokens: token ids [B, L], padded with 0.
            prompt_index: for each text which prompt to add, [B], 0 … n_prompts - 1, or n_prompts for
                the mean of all; None takes the mean for all, as at test.

        Returns:
            unit-norm features [B, D].
        """
        if prompt_index is None:
            prompt_index = torch.full((len(tokens),), self.n_prompts, device=tokens.device)
        # Row p takes prompt p; the last row takes an equal share of each, which is their mean.
        choices = torch.cat(
            [
                torch.eye(self.n_prompts, device=tokens.device, dtype=self.prompts.dtype),
                self.prompts.new_full((1, self.n_prompts), 1 / self.n_prompts),
            ]
        )
        return self.encoder(tokens, self.prompts, choices[prompt_index])


def save(encoder: NoTextEncoder, config: NoEncoderConfig, folder: str | Path) -> None:
    """Write weights and configuration to `folder`, whole or not at all."""
    with atomic_folder(folder) as temporary:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
        save_file(state, temporary / WEIGHTS)
        write_json(temporary / CONFIG, asdict(config))


def read_config(folder: str | Path) -> NoEncoderConfig:
    """The configuration that `save` wrote.

    Raises:
        MissingInput, InvalidData: the file is not there or not of this kind.
    """
    path = Path(folder) / CONFIG
    try:
        return NoEncoderConfig(**read_json(path))
    except TypeError as error:
        raise InvalidData(f"{path} does not describe a no encoder: {error}") from error


def load(folder: str | Path, model: nn.Module, backbone: str) -> NoTextEncoder:
    """Read a trained no encoder.

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
    encoder = NoTextEncoder(model, config.n_prompts)
    try:
        encoder.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InvalidData(f"{weights} does not fit this backbone or is damaged: {error}") from error
    return encoder.eval()
