"""Choose and check the device that torch computes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipn.errors import InvalidParams

if TYPE_CHECKING:
    import torch


def choose(name: str | None = None) -> str:
    """Return `name`, else `cuda` where there is one, else `cpu`."""
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
