"""What a benchmark hands on: its figures as JSON, with the machine that they were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from clipn.utils.files import write_json


def machine(device: str) -> dict[str, Any]:
    """Return what figures depend on: card or processor, cores, versions."""
    gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if gpu else _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "python": platform.python_version(),
    }


def write(path: Path, device: str, figures: dict[str, Any]) -> None:
    """Write `figures`, a tree of names and numbers, beside the machine."""
    write_json(path, {"machine": machine(device), **figures})


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
