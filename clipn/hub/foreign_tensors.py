"""Tensors from files that others made. Nothing in a file is run: a file that needs more than tensors is refused."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clipn.errors import InvalidData, MissingInput

MAX_BYTES = 20 * 2**30
DEPTH = 3
"""How deep in nested mappings the state dict may lie."""

ZIP = b"PK"
PICKLE = b"\x80"
# What PyTorch wrote before its zip format starts with this number as a pickle of its own.
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

# Raised by the readers of damaged files, as seen in tests with damaged files.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class StateDict:
    """A state dict in a file.

    Attributes:
        tensors: name without prefix → tensor.
        prefix: what stood before each name in the file.
        keys: of the nested mappings, from the outermost to the state dict.
        beside: keys of the other content: optimizer states, epoch and the like.
    """

    tensors: dict[str, Tensor]
    prefix: str
    keys: tuple[str, ...]
    beside: tuple[str, ...]


def read(path: str | Path) -> Mapping[Any, Any]:
    """Return the mapping in a PyTorch file (of either format) or a safetensors file, on the CPU.

    Raises:
        MissingInput: there is no such file.
        InvalidData: the file is empty, too large, damaged, of another kind, or holds more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidData(f"{path} is a folder; name the checkpoint file in it")
    if not path.is_file():
        raise MissingInput(f"{path} does not exist")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InvalidData(f"{path} has {size / 2**30:.1f} GiB; checkpoints of more than {MAX_BYTES >> 30} are refused")
    with path.open("rb") as handle:
        start = handle.read(len(LEGACY))
    if not start:
        raise InvalidData(f"{path} is empty")
    if start.startswith(ZIP) or start == LEGACY:
        content = _read_torch(path, zipped=start.startswith(ZIP))
    elif start[8:9] == b"{":
        content = _read_safetensors(path)
    elif start.startswith(PICKLE):
        raise InvalidData(_refusal(path, "it is a plain pickle"))
    else:
        raise InvalidData(f"{path} is neither a PyTorch checkpoint nor a safetensors file")
    if not isinstance(content, Mapping):
        raise InvalidData(f"{path} holds a {type(content).__name__}, not a mapping of names to tensors")
    return content


def find_state_dict(content: Mapping[Any, Any], mark: str) -> StateDict | None:
    """Return the state dict that holds the tensor `mark` under any prefix; None if there is none.

    Of several, it is the outermost one, and among those the first.

    Args:
        content: as `read` returns it.
        mark: name of a tensor that only the wanted state dict has.
    """
    level: list[tuple[Mapping[Any, Any], tuple[str, ...], tuple[str, ...]]] = [(content, (), ())]
    seen = {id(content)}
    for _ in range(DEPTH + 1):
        deeper = []
        for mapping, keys, beside in level:
            names = {name: value for name, value in mapping.items() if isinstance(name, str)}
            for name, value in names.items():
                if isinstance(value, Tensor) and (name == mark or name.endswith(f".{mark}")):
                    return _state_dict(mapping, name.removesuffix(mark), keys, beside)
            for name, value in names.items():
                if isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    others = tuple(".".join((*keys, str(other))) for other in mapping if other != name)
                    deeper.append((value, (*keys, name), (*beside, *others)))
        level = deeper
    return None


def _state_dict(mapping: Mapping[Any, Any], prefix: str, keys: tuple[str, ...], beside: tuple[str, ...]) -> StateDict:
    tensors = {
        name.removeprefix(prefix): value
        for name, value in mapping.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, Tensor)
    }
    others = tuple(
        ".".join((*keys, str(name))) for name in mapping if not (isinstance(name, str) and name.startswith(prefix))
    )
    return StateDict(tensors, prefix, keys, (*beside, *others))


def _read_torch(path: Path, zipped: bool) -> Any:
    if zipped:
        _check_zip(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise InvalidData(_refusal(path, f"it asks for {needed[1]}" if needed else "or is damaged")) from error
    except DAMAGE as error:
        raise InvalidData(_damaged(path, error)) from error


def _check_zip(path: Path) -> None:
    """Raise unless the archive is as PyTorch writes it: without compression, which could unfold to any size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, *DAMAGE) as error:
        raise InvalidData(_damaged(path, error)) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise InvalidData(_refusal(path, "it is a TorchScript program"))
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InvalidData(f"{path} is a compressed archive, not a PyTorch checkpoint; if one is inside, unpack it")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InvalidData(_damaged(path, error)) from error


def _refusal(path: Path, reason: str) -> str:
    return (
        f"{path} holds more than tensors ({reason}), which could run code, and will not be loaded. Ask "
        "its author for the state dict alone, as torch.save writes it, or for safetensors"
    )


def _damaged(path: Path, error: Exception) -> str:
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    return f"{path} is damaged or cut short ({reason}); fetch it again"
