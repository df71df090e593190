"""Facts of this machine, from the environment. They change how fast a result comes, never the result."""

from __future__ import annotations

import os

from clipn.errors import InvalidParams
from clipn.utils import devices


def device() -> str:
    """Return CLIPN_DEVICE, else `cuda` where there is one, else `cpu`.

    Raises:
        InvalidParams: torch cannot use the device.
    """
    name = devices.choose(os.environ.get("CLIPN_DEVICE"))
    devices.check(name, f"CLIPN_DEVICE={name}")
    return name


def workers() -> int:
    """Return CLIPN_WORKERS, else the number of usable cores: processes that download, threads that decode."""
    return _count("CLIPN_WORKERS", len(os.sched_getaffinity(0)))


def processes(device: str) -> int:
    """Return how many processes train together: CLIPN_PROCESSES, else one for each GPU if `device` is one, else 1."""
    import torch

    return _count("CLIPN_PROCESSES", torch.cuda.device_count() if device.startswith("cuda") else 1)


def download_threads() -> int:
    """Return CLIPN_DOWNLOAD_THREADS, else 16: connections of each downloading process."""
    return _count("CLIPN_DOWNLOAD_THREADS", 16)


def _count(variable: str, default: int) -> int:
    value = os.environ.get(variable, str(default))
    if not value.isdigit() or int(value) < 1:
        raise InvalidParams(f"{variable}={value} has to be a whole number of at least 1")
    return int(value)
