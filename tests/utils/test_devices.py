"""The device that torch computes on."""

from __future__ import annotations

import pytest
import torch

from clipn.errors import InvalidParams
from clipn.utils import devices


@pytest.mark.parametrize(("available", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one_unless_another_is_named(
    monkeypatch: pytest.MonkeyPatch, available: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert devices.choose() == devices.choose("") == device
    assert devices.choose("cuda:1") == "cuda:1"


def test_a_device_that_cannot_be_used_is_named_with_its_setting() -> None:
    devices.check("cpu", "the device cpu")
    with pytest.raises(InvalidParams, match="TOASTER=on cannot be used, name another one, such as cpu: "):
        devices.check("on", "TOASTER=on")
