"""The device that torch computes on."""

from __future__ import annotations

import pytest
import torch

from clipn.errors import InvalidParams, OutOfMemory
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


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 3 MiB free."),
        RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory: 9 bytes. Error code 12"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_with_what_to_lower(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"^not enough memory; lower train\.batch_size, which is 2048: \S") as caught,
        devices.memory_errors("lower train.batch_size, which is 2048"),
    ):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    assert "3 MiB free" not in str(caught.value)


def test_an_allocation_that_really_fails_is_known() -> None:
    with pytest.raises(OutOfMemory, match=r"lower it: .*can't allocate memory"), devices.memory_errors("lower it"):
        torch.empty(2**60)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, devices.memory_errors("lower it"):
        raise error
    assert caught.value is error
