"""Checkpoints: everything comes back, damage is passed over, another run's is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from clipn.errors import OtherRun
from clipn.optim import adamw
from clipn.training import checkpoint

RUN = {"seed": 0, "train.lr": 1e-3}


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = adamw(model, lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.rand(4, 3)).square().sum().backward()  # random input: the generator's state counts too
    optimizer.step()


def silent(message: str) -> None:
    raise AssertionError(message)


def test_the_next_step_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = trained(3)
    checkpoint.save(tmp_path, 3, model, optimizer, RUN)
    step(model, optimizer)

    torch.manual_seed(99)
    other, other_optimizer = trained(0)
    found = checkpoint.latest(tmp_path, RUN, silent)
    assert found is not None
    assert found.step == 3
    found.restore(other, other_optimizer)
    step(other, other_optimizer)
    assert torch.equal(other.weight, model.weight)  # type: ignore[arg-type]
    assert torch.equal(other.bias, model.bias)  # type: ignore[arg-type]


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "absent", RUN, silent) is None


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        checkpoint.save(tmp_path, number, *trained(1), RUN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "state lost", "description lost", "description cut"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    for number in (1, 2):
        checkpoint.save(tmp_path, number, *trained(number), RUN)
    state = tmp_path / "step-00000002" / checkpoint.STATE
    description = tmp_path / "step-00000002" / checkpoint.DESCRIPTION
    content = bytearray(state.read_bytes())
    if damage == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-3] ^= 1
        state.write_bytes(content)
    elif damage == "state lost":
        state.unlink()
    elif damage == "description lost":
        description.unlink()
    else:
        description.write_text(description.read_text()[:20])
    said: list[str] = []
    found = checkpoint.latest(tmp_path, RUN, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert "step-00000002" in said[0]
    assert "going back" in said[0]


def test_another_run_s_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, *trained(1), RUN)
    with pytest.raises(OtherRun, match=r"train\.lr was 0\.001 and is 0\.1$"):
        checkpoint.latest(tmp_path, {**RUN, "train.lr": 0.1}, silent)


def test_what_a_killed_save_left_is_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / ".step-00000007.abc.partial").mkdir(parents=True)
    checkpoint.save(tmp_path, 1, *trained(1), RUN)
    checkpoint.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
