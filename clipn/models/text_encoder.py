"""CLIP's causal text transformer without the work that cannot change its result.

Attention is causal and a text is read at its end token, so positions after it have no effect. The
tokens up to the end token of all texts are therefore laid one after the other, sorted by the length
of their text: linear layers and norms see one matrix without padding, and attention sees the texts of
equal length, which lie side by side, as one batch that needs no mask but the causal one.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipn.errors import UnsupportedModel


@dataclass(frozen=True)
class Packed:
    """Texts without their padding; T tokens of B texts, sorted by length.

    Attributes:
        ids: token ids [T].
        positions: of each token in its text [T].
        order: which row of the batch each sorted text is [B].
        lengths: tokens of each sorted text [B].
        groups: (texts, length) of each run of equal length, in order.
    """

    ids: Tensor
    positions: Tensor
    order: Tensor
    lengths: Tensor
    groups: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, tokens: Tensor, ends: Tensor) -> Packed:
        """Pack token ids [B, L] whose end tokens are at `ends` [B], on the device of `tokens`."""
        lengths, order = (ends + 1).sort(stable=True)
        unique, counts = torch.unique_consecutive(lengths, return_counts=True)
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        kept = positions < lengths[:, None]
        groups = tuple(zip(counts.tolist(), unique.tolist(), strict=True))
        return cls(tokens[order][kept], positions[kept], order, lengths, groups)


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

    def forward(self, tokens: Tensor, prompts: Tensor | None = None, prompt_index: Tensor | None = None) -> Tensor:
        """Encode texts.

        Args:
            tokens: token ids [B, L], L at most the context length, padded with 0. On the CPU even if
                the encoder is not: lengths are read there, and only tokens that count are moved.
            prompts: vectors that are added to the token embeddings, [P, context length, width].
            prompt_index: which of the P prompts each text takes, [B], on the device of `tokens`.

        Returns:
            unit-norm features [B, D] on the encoder's device, in the precision of the autocast around it.
        """
        device = self.positional_embedding.device
        packed = Packed.of(tokens, self.ends(tokens))
        positions = packed.positions.to(device, non_blocking=True)
        x = self.token_embedding(packed.ids.to(device, non_blocking=True))
        x = x + F.embedding(positions, self.positional_embedding)
        if prompts is not None and prompt_index is not None:
            drawn = prompt_index[packed.order].repeat_interleave(packed.lengths).to(device, non_blocking=True)
            x = x + F.embedding(drawn * self.context_length + positions, prompts.flatten(0, 1))
        with _attention_kernel(device):
            x = self._transform(x, packed.groups)
        last = packed.lengths.cumsum(0) - 1
        x = self.ln_final(x[last[packed.order.argsort()].to(device, non_blocking=True)])
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return F.normalize(x, dim=-1)

    def _transform(self, x: Tensor, groups: tuple[tuple[int, int], ...]) -> Tensor:
        """Run the transformer on packed tokens [T, width]."""
        if self._plain:
            for block in self.transformer.resblocks:
                x = x + block.ls_1(_attention(block.attn, block.ln_1(x), groups))
                x = x + block.ls_2(block.mlp(block.ln_2(x)))
            return x
        mask: Any = self.causal_mask
        texts = x.split([count * length for count, length in groups])
        parts = [
            self.transformer(part.unflatten(0, group), attn_mask=mask[: group[1], : group[1]]).flatten(0, 1)
            for part, group in zip(texts, groups, strict=True)
        ]
        return torch.cat(parts)

    @classmethod
    def copy_of(cls, model: nn.Module) -> TextEncoder:
        """Make an encoder with parameters of its own, equal to those of `model`."""
        return copy.deepcopy(cls(model))


def _attention(attention: nn.MultiheadAttention, x: Tensor, groups: tuple[tuple[int, int], ...]) -> Tensor:
    """Compute causal self-attention within each text of packed tokens [T, width]."""
    heads = attention.num_heads
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    parts = []
    for part, (count, length) in zip(projected.split([c * n for c, n in groups]), groups, strict=True):
        query, key, value = part.view(count, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        parts.append(seen.transpose(1, 2).reshape(count * length, -1))
    return attention.out_proj(torch.cat(parts))


def _attention_kernel(device: torch.device) -> AbstractContextManager[Any]:
    """Choose the kernel for short texts: in bfloat16 on a CPU the fused one takes 1.6 times as long a step."""
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
