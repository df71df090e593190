"""A GPU without room says what to do."""

from __future__ import annotations

import pytest
import torch

from clipn.errors import OutOfMemory
from clipn.utils import devices


def test_too_little_memory_is_an_error_of_ours(device: torch.device) -> None:
    with pytest.raises(OutOfMemory, match="lower the batch size"), devices.memory_errors("lower the batch size"):
        torch.empty(2**50, dtype=torch.uint8, device=device)
