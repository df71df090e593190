"""A group of one, what a group refuses, and two real processes that gather, agree and average."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipn.errors import InvalidParams
from clipn.training import distributed
from clipn.training.distributed import Group

CPU = torch.device("cpu")


def test_a_group_of_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    module, features = torch.nn.Linear(2, 2), torch.ones(3, 2)
    with distributed.joined("cpu") as group:
        assert group == Group(0, 1, CPU)
        assert group.leads
        assert group.wrap(module) is module
        assert group.gather(features) is features
        assert group.once(features) is features
        assert (group.any(True), group.any(False)) == (True, False)
        assert group.agree("x") == "x"


def test_a_batch_is_shared_evenly_or_refused() -> None:
    assert Group(1, 4, CPU).share(32) == 8
    with pytest.raises(InvalidParams, match=r"batch_size is 30, which 4 processes cannot divide evenly"):
        Group(1, 4, CPU).share(30)
    assert not Group(1, 4, CPU).leads


PROGRAM = """
import torch
from clipn.training import distributed

with distributed.joined("cpu") as group:
    assert (group.size, group.share(4)) == (2, 2)
    assert group.agree(f"from {group.rank}") == "from 0"
    assert (group.any(group.rank == 1), group.any(False)) == (True, False)

    # Rank r has the rows r and r + 10, and only its own part has a gradient.
    own = torch.tensor([[0.0], [10.0]]) + group.rank
    own.requires_grad_()
    gathered = group.gather(own)
    assert gathered.flatten().tolist() == [0, 10, 1, 11]
    (gathered * torch.tensor([[1.0], [2.0], [3.0], [4.0]])).sum().backward()
    assert own.grad.flatten().tolist() == [[1, 2], [3, 4]][group.rank]

    # What every process has the whole gradient of counts once in the sum over both.
    scale = torch.tensor(3.0, requires_grad=True)
    once = group.once(scale)
    assert once.item() == 3
    (5 * once).backward()
    assert scale.grad.item() == 2.5

    # Gradients are averaged over the processes: (1 + 2) / 2.
    layer = torch.nn.Linear(1, 1, bias=False)
    wrapped = group.wrap(layer)
    wrapped(torch.tensor([[1.0 + group.rank]])).sum().backward()
    assert layer.weight.grad.item() == 1.5
"""


def test_two_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run([*launcher, str(program)], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
