from __future__ import annotations

import pytest
from torch import nn

from clipn.optim import adamw, cosine_lr


@pytest.mark.parametrize(
    ("step", "warmup", "expected"),
    [(0, 0, 1.0), (50, 0, 0.5), (100, 0, 0.0), (0, 10, 0.1), (9, 10, 1.0), (10, 10, 1.0), (55, 10, 0.5)],
)
def test_cosine_by_hand(step: int, warmup: int, expected: float) -> None:
    assert cosine_lr(step, 100, 1.0, warmup) == pytest.approx(expected, abs=1e-12)


def test_norms_and_biases_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    model[0].weight.requires_grad_(True)
    model[1].weight.requires_grad_(False)
    decayed, plain = adamw(model, lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2).param_groups
    assert [p is model[0].weight for p in decayed["params"]] == [True]
    assert decayed["weight_decay"] == 0.2
    assert plain["weight_decay"] == 0
    assert len(plain["params"]) == 2  # the two biases; what is frozen is left out
