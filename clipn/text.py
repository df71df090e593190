"""CLIP's causal text transformer without the work that cannot change its result.

Attention is causal and a text is read at its end token, so positions after it have no effect. Texts
are therefore sorted by length and encoded in chunks, each cut off after its last end token: a chunk
costs what its longest caption costs, not the full context.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipn.errors import UnsupportedModel

CHUNK = 128
"""Texts encoded at a time: small enough to gain from sorting, large enough to fill the hardware."""


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
        self.transformer: nn.Module = parts.transformer
        self.ln_final: nn.Module = parts.ln_final
        self.text_projection: nn.Parameter | nn.Linear | None = parts.text_projection
        self.register_buffer("causal_mask", mask, persistent=False)
        self._end_id = None if pool == "argmax" else getattr(parts, "text_eos_id", getattr(parts, "eos_id", None))

    @property
    def context_length(self) -> int:
        return self.positional_embedding.shape[0]

    @property
    def width(self) -> int:
        return self.positional_embedding.shape[1]

    def ends(self, tokens: Tensor) -> Tensor:
        """Position of the end token in each row of `tokens` [B, L] → [B]."""
        if self._end_id is None:
            return tokens.argmax(dim=-1)  # in CLIP's vocabulary the end token has the highest id
        return (tokens == self._end_id).int().argmax(dim=-1)

    def forward(self, tokens: Tensor, prompts: Tensor | None = None, mix: Tensor | None = None) -> Tensor:
        """Encode texts.

        Args:
            tokens: token ids [B, L], L at most the context length, padded with 0.
            prompts: P prompts, one or several of which are added to the token embeddings,
                [P, context length, width].
            mix: how much of each prompt every text takes, [B, P].

        Returns:
            unit-norm features [B, D].
        """
        ends = self.ends(tokens)
        order = ends.argsort(stable=True)
        parts = []
        for rows in order.split(CHUNK):
            length = int(ends[rows[-1]]) + 1
            x = self.token_embedding(tokens[rows, :length]) + self.positional_embedding[:length]
            if prompts is not None and mix is not None:
                # A matrix product: gathering a prompt for each text is many times slower to differentiate.
                x = x + (mix[rows] @ prompts[:, :length].flatten(1)).view_as(x)
            x = self.transformer(x, attn_mask=self.causal_mask[:length, :length])  # type: ignore[index]
            parts.append(x[torch.arange(len(rows), device=x.device), ends[rows]])
        x = self.ln_final(torch.cat(parts)[order.argsort()])
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return F.normalize(x, dim=-1)

    @classmethod
    def copy_of(cls, model: nn.Module) -> TextEncoder:
        """An encoder with parameters of its own, equal to those of `model`."""
        return copy.deepcopy(cls(model))
