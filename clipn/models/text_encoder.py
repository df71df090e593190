"""CLIP's causal text transformer without the work that cannot change its result.

Attention is causal and a text is read at its end token, so positions after it have no effect. The
tokens up to the end token of all texts are therefore laid one after the other, sorted by the length
of their text (`clipn.models.packing`): linear layers and norms see one matrix without padding, and
attention stays within the texts (`clipn.models.attention`).
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from clipn.errors import UnsupportedModel
from clipn.models import attention
from clipn.models.packing import Packed


class TextEncoder(nn.Module):
    """The text side of an open_clip model as a module of its own.

    Takes both layouts: `CLIP`, which keeps the text parts on the model, and `CustomTextCLIP`, which
    keeps them in `model.text`. The parts are shared with `model`, not copied; see `copy_of`.

    Raises:
        UnsupportedModel: the text tower is not a causal transformer read at its end token.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        parts: Any = getattr(model, "text", model)
        pool = getattr(parts, "text_pool_type", getattr(parts, "pool_type", None))
        mask = getattr(parts, "attn_mask", None)
        if pool not in ("argmax", "eos") or mask is None or getattr(parts, "cls_emb", None) is not None:
            raise UnsupportedModel(
                f"the text tower of this {type(model).__name__} is no causal transformer read at its end "
                f"token (pool type {pool!r}, causal mask {'present' if mask is not None else 'absent'}); "
                "choose an open_clip model of CLIP's text architecture, such as ViT-B-16"
            )
        self.token_embedding: nn.Embedding = parts.token_embedding
        self.positional_embedding: nn.Parameter = parts.positional_embedding
        self.transformer: Any = parts.transformer
        self.ln_final: nn.Module = parts.ln_final
        self.text_projection: nn.Parameter | nn.Linear | None = parts.text_projection
        self.register_buffer("causal_mask", mask, persistent=False)
        self._end_id = None if pool == "argmax" else getattr(parts, "text_eos_id", getattr(parts, "eos_id", None))
        self._plain = all(type(block) is ResidualAttentionBlock for block in self.transformer.resblocks)

    @property
    def context_length(self) -> int:
        return self.positional_embedding.shape[0]

    @property
    def width(self) -> int:
        return self.positional_embedding.shape[1]

    def ends(self, tokens: Tensor) -> Tensor:
        """Return the position of the end token in each row of `tokens` [B, L] → [B]."""
        if self._end_id is None:
            return tokens.argmax(dim=-1)  # in CLIP's vocabulary the end token has the highest id
        return (tokens == self._end_id).int().argmax(dim=-1)

    @property
    def takes_blocks(self) -> bool:
        """Return whether one call of attention a layer can serve texts of all lengths."""
        return self._plain and all(attention.takes_blocks(block) for block in self.transformer.resblocks)

    def pack(self, tokens: Tensor, blocks: bool = False) -> Packed:
        """Pack token ids [B, L], padded with 0, on the CPU; with `blocks` for one call of attention a layer."""
        return Packed.of(tokens, self.ends(tokens), blocks)

    def forward(
        self, tokens: Tensor | Packed, prompts: Tensor | None = None, prompt_index: Tensor | None = None
    ) -> Tensor:
        """Encode texts.

        Args:
            tokens: what `pack` gives, or token ids [B, L] at most as long as the context, padded with 0. They
                are packed on the CPU, so that is where they are best; only tokens that count are moved.
            prompts: vectors that are added to the token embeddings, [P, context length, width].
            prompt_index: which of the P prompts each text takes, [B], on any device.

        Returns:
            unit-norm features [B, D] on the encoder's device, in the precision of the autocast around it.
        """
        device = self.positional_embedding.device
        packed = tokens if isinstance(tokens, Packed) else self.pack(tokens.cpu())
        packed = packed.map(partial(torch.Tensor.to, device=device, non_blocking=True))
        x = self.token_embedding(packed.ids) + F.embedding(packed.positions, self.positional_embedding)
        if prompts is not None and prompt_index is not None:
            drawn = prompt_index.to(device, non_blocking=True)[packed.rows]
            x = x + F.embedding(drawn * self.context_length + packed.positions, prompts.flatten(0, 1))
        x = self.ln_final(self._transform(x, packed)[packed.last])
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return F.normalize(x, dim=-1)

    def _transform(self, x: Tensor, packed: Packed) -> Tensor:
        """Run the transformer on packed tokens [T, width]."""
        if packed.blocks is not None:
            return attention.by_blocks(self.transformer.resblocks, x, packed.blocks)
        if self._plain:
            return attention.by_length(self.transformer.resblocks, x, packed.groups)
        mask: Any = self.causal_mask
        texts = x.split([count * length for count, length in packed.groups])
        with attention.kernels(x.device):
            parts = [
                self.transformer(part.unflatten(0, group), attn_mask=mask[: group[1], : group[1]]).flatten(0, 1)
                for part, group in zip(texts, packed.groups, strict=True)
            ]
        return torch.cat(parts)

    @classmethod
    def copy_of(cls, model: nn.Module) -> TextEncoder:
        """Make an encoder with parameters of its own, equal to those of `model`."""
        return copy.deepcopy(cls(model))
