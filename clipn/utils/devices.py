"""The device that torch computes on: choose it, check it, and say what helps where its memory is too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clipn.errors import InvalidParams, OutOfMemory

if TYPE_CHECKING:
    import torch

ALLOCATION_FAILED = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What the messages of the CUDA driver, of torch's CPU allocator and of cuBLAS have in common: plain RuntimeErrors."""


def choose(name: str | None = None) -> str:
    """Return `name`, else `cuda` where there is one, else `cpu`: the rule of every command and stage.

    Args:
        name: from `--device` of a command, or from CLIPN_DEVICE in a stage.
    """
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def check(device: str | torch.device, setting: str) -> None:
    """Check that torch can put something on a device.

    Args:
        device: name of the device.
        setting: what the message calls it, such as `CLIPN_DEVICE=cuda`.

    Raises:
        InvalidParams: it cannot.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidParams(f"{setting} cannot be used, name another one, such as cpu: {reason}") from error


@contextmanager
def memory_errors(way_out: str) -> Iterator[None]:
    """Turn running out of memory, on a GPU or a CPU, into an error that says what to do.

    Args:
        way_out: the parameter to lower, with its value: `lower train.batch_size, which is 2048`.

    Raises:
        OutOfMemory: an allocation failed in the body. Other errors pass unchanged.
    """
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(part in str(error) for part in ALLOCATION_FAILED):
            raise
        reason = ". ".join(str(error).partition("\n")[0].split(". ")[:2])  # what follows is advice for programmers
        raise OutOfMemory(f"not enough memory; {way_out}: {reason or 'an allocation failed'}") from error
