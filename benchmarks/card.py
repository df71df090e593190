"""The card, its driver, and the versions that figures depend on."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from typing import Any

import torch

from benchmarks import results

PACKAGES = ("torchvision", "open_clip_torch", "numpy", "pyarrow")


def describe(device: str) -> dict[str, Any]:
    """Return card, driver, versions and cores; the device is None where torch finds no GPU."""
    if device == "cpu":
        return {**results.machine(device), "bfloat16": True}
    if not torch.cuda.is_available():
        return {"device": None, "torch": torch.__version__, "cuda": torch.version.cuda}
    properties = torch.cuda.get_device_properties(0)
    return {
        **results.machine(device),
        "driver": _driver(),
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
        "packages": {name: version(name) for name in PACKAGES},
    }


def allocated_anew(device: str) -> int:
    """Return the bytes that are allocated on the GPU, and count its peak from now on; 0 on a CPU."""
    if not device.startswith("cuda"):
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_allocated(device: str) -> int:
    """Return the most bytes that were allocated on the GPU since `allocated_anew`; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else 0


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown, since there is no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return next(iter(subprocess.run(query, capture_output=True, text=True).stdout.split()), "unknown")
