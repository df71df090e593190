"""Files from others: what is read, what is refused, and that nothing in them is run."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file

from clipn.errors import InvalidData, MissingInput
from clipn.hub import foreign_tensors
from clipn.hub.foreign_tensors import find_state_dict, read

STATE = {"module.mark": torch.ones(2), "module.other": torch.zeros(3)}


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("new_format", [True, False])
def test_both_formats_of_pytorch_are_read(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": STATE, "epoch": 3}, path, _use_new_zipfile_serialization=new_format)
    content = read(path)
    assert content["epoch"] == 3
    torch.testing.assert_close(dict(content["state_dict"]), STATE)


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.bin")
    torch.testing.assert_close(dict(read(tmp_path / "model.bin")), STATE)


@pytest.mark.parametrize(
    "write",
    [
        lambda value, path: torch.save({"state_dict": STATE, "more": value}, path),
        lambda value, path: torch.save({"more": value}, path, _use_new_zipfile_serialization=False),
        lambda value, path: path.write_bytes(pickle.dumps(value)),
    ],
)
def test_code_in_a_file_is_not_run(tmp_path: Path, write: Callable[[Any, Path], object]) -> None:
    write(Evil(tmp_path / "made"), tmp_path / "model.pt")
    with pytest.raises(InvalidData, match=r"holds more than tensors .*, which could run code, and will not be loaded"):
        read(tmp_path / "model.pt")
    assert not (tmp_path / "made").exists()


def test_what_a_file_asks_for_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "arguments": argparse.Namespace()}, tmp_path / "model.pt")
    with pytest.raises(InvalidData, match=r"it asks for argparse\.Namespace"):
        read(tmp_path / "model.pt")


def _torch_bytes(path: Path) -> bytes:
    torch.save(STATE, path)
    return path.read_bytes()


def _compressed(path: Path) -> None:
    _torch_bytes(path)
    with zipfile.ZipFile(path) as plain:
        entries = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def _program(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("not a checkpoint"), "is neither a PyTorch checkpoint nor a safetensors file"),
        (lambda path: path.mkdir(), "is a folder; name the checkpoint file in it"),
        (lambda path: path.write_bytes(_torch_bytes(path)[:700]), "is damaged or cut short"),
        (lambda path: path.write_bytes(foreign_tensors.LEGACY), r"is damaged or cut short \(EOFError\)"),
        (lambda path: path.write_bytes(b"\x20\0\0\0\0\0\0\0{}"), r"is damaged or cut short \(SafetensorError"),
        (lambda path: torch.save([1, 2], path), "holds a list, not a mapping of names to tensors"),
        (_compressed, "is a compressed archive"),
        (_program, "it is a TorchScript program"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "model.pt")
    with pytest.raises(InvalidData, match=message):
        read(tmp_path / "model.pt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"model\.pt does not exist"):
        read(tmp_path / "model.pt")


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.pt")
    with patch.object(foreign_tensors, "MAX_BYTES", 100), pytest.raises(InvalidData, match="are refused"):
        read(tmp_path / "model.pt")


def test_the_state_dict_is_found_with_its_prefix() -> None:
    found = find_state_dict({"epoch": 1, "run": {"model": {**STATE, "head": torch.ones(1)}, "lr": 0.1}}, "mark")
    assert found is not None
    assert found.tensors.keys() == {"mark", "other"}
    assert (found.prefix, found.keys) == ("module.", ("run", "model"))
    assert found.beside == ("epoch", "run.lr", "run.model.head")


def test_the_outermost_state_dict_is_taken() -> None:
    found = find_state_dict({"average": {"model": STATE}, "mark": torch.ones(1)}, "mark")
    assert found is not None
    assert (found.keys, found.prefix, list(found.tensors)) == ((), "", ["mark"])


def test_nothing_is_found_elsewhere() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert find_state_dict(circle, "mark") is None
    assert find_state_dict({"mark": "no tensor", "bookmark": torch.ones(1)}, "mark") is None
    assert find_state_dict({"a": {"b": {"c": {"d": STATE}}}}, "mark") is None
