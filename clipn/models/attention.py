"""Residual blocks of a text tower on packed tokens, with attention that stays within each text.

There are two ways. Texts of equal length lie side by side, so one call of attention serves all texts of a
length and needs no mask but the causal one: the fastest way on a CPU. A GPU runs such calls faster than
the host can start them; there one call of FlexAttention a layer serves texts of all lengths, in residual
blocks that are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from clipn.models.packing import BLOCK, Blocks

LEAST_HEAD_WIDTH = 16
"""Of FlexAttention, whose kernels multiply tiles of at least this width."""
RECOMPILE_LIMIT = 64
"""Programs of one function: one for each shape of tokens and tower, with gradients and without."""


def by_length(blocks: Iterable[nn.Module], x: Tensor, groups: tuple[tuple[int, int], ...]) -> Tensor:
    """Run residual blocks on packed tokens [T, width], with one call of attention for all texts of a length."""
    with kernels(x.device):
        for block in blocks:
            x = _residual(block, x, partial(_attend_by_length, groups=groups))
    return x


def by_blocks(blocks: Iterable[nn.Module], x: Tensor, runs: Blocks) -> Tensor:
    """Run residual blocks on packed tokens [T, width], with one call of attention; compiled on a GPU."""
    run = _compiled() if x.is_cuda else _with_mask
    for block in blocks:
        x = run(block, x, runs.text, runs.kv_count, runs.kv_index, runs.q_count, runs.q_index)
    return x


def takes_blocks(block: Any) -> bool:
    """Return whether FlexAttention has kernels for the heads of a residual block."""
    return bool(block.attn.head_dim >= LEAST_HEAD_WIDTH)


def kernels(device: torch.device) -> AbstractContextManager[Any]:
    """Choose the kernels that may serve short texts of one length.

    On a CPU in bfloat16 the fused one takes 1.6 times as long a step. On a GPU cuDNN's plans anew for every
    count and length, which differ in every batch: 1.7 s a step of 2,048 captions on an H100, with 52 ms of kernels.
    """
    if device.type == "cuda":
        return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
    if device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _residual(block: Any, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Run a residual block on packed tokens [T, width]; `attend` takes and gives [T, heads, head width]."""
    attention = block.attn
    projected = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(1, (3, attention.num_heads, -1)).unbind(1)
    x = x + block.ls_1(attention.out_proj(attend(query, key, value).flatten(1)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _attend_by_length(query: Tensor, key: Tensor, value: Tensor, groups: tuple[tuple[int, int], ...]) -> Tensor:
    """Attend within each text, with one call for all texts of a length."""
    parts = []
    sizes = [count * length for count, length in groups]
    for q, k, v, group in zip(query.split(sizes), key.split(sizes), value.split(sizes), groups, strict=True):
        q, k, v = (part.unflatten(0, group).transpose(1, 2) for part in (q, k, v))
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def _with_blocks(
    block: nn.Module, x: Tensor, text: Tensor, kv_count: Tensor, kv_index: Tensor, q_count: Tensor, q_index: Tensor
) -> Tensor:
    """Run a residual block on packed tokens [T, width] with one call of FlexAttention.

    The weights of the block are inputs to the compiler, so all blocks of a tower share one compiled program.
    """

    def within_text(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (text[query] == text[key])

    size = (len(x), len(x))
    full = (None, None)  # of no block it is known that all of it lies within one text
    mask = BlockMask(size, kv_count, kv_index, *full, q_count, q_index, *full, (BLOCK, BLOCK), within_text)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))
        attended: Any = flex_attention(q, k, v, block_mask=mask)
        return attended[0].transpose(0, 1)

    return _residual(block, x, attend)


def _with_mask(block: nn.Module, x: Tensor, *runs: Tensor) -> Tensor:
    """Run a residual block as `_with_blocks` does, with a mask [T, T]. FlexAttention has no gradient on a CPU."""
    mask = dense(Blocks(*runs))

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1)

    return _residual(block, x, attend)


def dense(blocks: Blocks) -> Tensor:
    """Return the mask [T, T] that blocks stand for, as FlexAttention reads it."""
    token = torch.arange(len(blocks.text), device=blocks.text.device)
    mask = (token[:, None] >= token) & (blocks.text[:, None] == blocks.text)
    rows = len(token) // BLOCK
    for count, index, transposed in (
        (blocks.kv_count, blocks.kv_index, False),
        (blocks.q_count, blocks.q_index, True),
    ):
        taken = torch.arange(rows, device=token.device) < count[0, 0, :, None]
        seen = torch.zeros(rows, rows, device=token.device).scatter_add_(1, index[0, 0].long(), taken.float()) > 0
        seen = seen.T if transposed else seen
        mask &= seen.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    return mask


@cache
def _compiled() -> Callable[..., Tensor]:
    """Return `_with_blocks` compiled for the shapes that it meets.

    Static shapes: kernels for any number of tokens are slower, and batches of one size share a few. The whole
    function or none: what torch would run instead of it makes a matrix [T, T].
    """
    # A tower of its own number of heads, each shape, and passes with and without gradients are compiled separately.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    return torch.compile(_with_blocks, dynamic=False, fullgraph=True)
