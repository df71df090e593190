"""Unfinished training on disk: what has to come back for the next step to be the same, bit for bit.

A checkpoint is a folder that appears whole: `state.safetensors` with weights, optimizer and random
states, and `checkpoint.json` with the step, the checksum and what the run is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clipn.errors import InvalidData, MissingInput, OtherRun
from clipn.utils.files import atomic_folder, read_json, sha256, write_json

STATE = "state.safetensors"
DESCRIPTION = "checkpoint.json"
KEEP = 2
"""Checkpoints kept: the newest, and one to fall back to."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and is whole.

    Attributes:
        step: number of finished steps.
        tensors: name → tensor, on the CPU.
    """

    step: int
    tensors: dict[str, Tensor]

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put weights, optimizer and random states back as they were."""
        model.load_state_dict(_part(self.tensors, "model."))
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(self.tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = tensor
        # The groups' settings come from the parameters, which are the same: only the moments come from the file.
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        torch.set_rng_state(self.tensors["random.cpu"])
        if "random.cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["random.cuda"])


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, run: Mapping[str, Any]) -> None:
    """Write a checkpoint below `folder` and remove all but the newest two.

    Args:
        folder: holds the checkpoints of one run.
        step: number of finished steps; the data position follows from it.
        model, optimizer: their states are taken as they are now.
        run: what the run is: everything that its result depends on.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": tensor for key, tensor in state.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    with atomic_folder(folder / f"step-{step:08d}") as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary / STATE)
        write_json(
            temporary / DESCRIPTION,
            {"step": step, "sha256": sha256(temporary / STATE), "run": dict(run)},
        )
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old)


def latest(folder: Path, run: Mapping[str, Any], warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest whole checkpoint below `folder`; None if there is none.

    Args:
        folder: as for `save`.
        run: what the run is; has to equal what the checkpoint says.
        warn: called with a message for every damaged checkpoint that is passed over.

    Raises:
        OtherRun: the newest whole checkpoint belongs to another run; names what differs.
    """
    for path in _newest_first(folder):
        try:
            return _read(path, run)
        except InvalidData as error:
            warn(f"{error}; going back to the checkpoint before it")
    return None


def clean(folder: Path) -> None:
    """Remove partial checkpoints below `folder`, which a killed save leaves there."""
    for partial in folder.glob(".step-*.partial"):
        shutil.rmtree(partial)


def _read(path: Path, run: Mapping[str, Any]) -> Checkpoint:
    try:
        description = read_json(path / DESCRIPTION)
        step, checksum, other = description["step"], description["sha256"], description["run"]
        if sha256(path / STATE) != checksum:
            raise InvalidData(f"{path / STATE} is damaged: its checksum is not the one in {DESCRIPTION}")
        if other != dict(run):
            raise OtherRun(f"{path} belongs to another run: {_difference(other, run)}")
        return Checkpoint(int(step), load_file(path / STATE))
    except (MissingInput, OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InvalidData(f"the checkpoint {path} is damaged: {error}") from error


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    return ", ".join(f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}" for name in names)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
