"""The losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from clipn.losses import image_text_binary_opposite, text_semantic_opposite


def unit(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def test_itbo_by_hand() -> None:
    images = unit((1, 0), (0, 1))
    texts = unit((1, 0), (0, 1))
    no_texts = unit((0, 1), (1, 0))
    # With scale 2 the differences no - yes are -2 on the diagonal and +2 off it.
    loss = image_text_binary_opposite(images, texts, no_texts, torch.tensor(2.0))
    expected = math.log1p(math.exp(-2))
    assert float(loss.yes) == pytest.approx(expected, rel=1e-6)
    assert float(loss.no) == pytest.approx(expected, rel=1e-6)


def test_itbo_equals_the_softmax_form() -> None:
    torch.manual_seed(0)
    images, texts, no_texts = (torch.nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(3))
    scale = torch.tensor(14.0)
    pair = torch.stack([scale * images @ texts.T, scale * images @ no_texts.T])
    p_no = pair.softmax(dim=0)[1]
    off = ~torch.eye(5, dtype=torch.bool)
    loss = image_text_binary_opposite(images, texts, no_texts, scale)
    torch.testing.assert_close(loss.yes, -(1 - p_no.diagonal()).log().mean())
    torch.testing.assert_close(loss.no, -p_no[off].log().mean())


def test_itbo_stays_finite_where_the_softmax_form_does_not() -> None:
    images = texts = unit((1, 0), (-1, 0))
    no_texts = -texts
    loss = image_text_binary_opposite(images, texts, no_texts, torch.tensor(1e4))
    assert torch.isfinite(loss.no)
    flipped = image_text_binary_opposite(images, no_texts, texts, torch.tensor(1e4))
    assert float(flipped.yes) == pytest.approx(2e4)


def test_itbo_of_a_single_pair_has_no_other_pairs() -> None:
    loss = image_text_binary_opposite(unit((1, 0)), unit((1, 0)), unit((0, 1)), torch.tensor(1.0))
    assert float(loss.no) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("no", "distance"), [((1.0, 0.0), math.sqrt(1e-4)), ((0.0, 1.0), math.sqrt(2 + 1e-4)), ((-1.0, 0.0), 2.000025)]
)
def test_tso_by_hand(no: tuple[float, float], distance: float) -> None:
    assert float(text_semantic_opposite(unit((1, 0)), unit(no))) == pytest.approx(2 - distance, abs=1e-6)


def test_tso_has_a_gradient_where_both_sides_are_equal() -> None:
    texts = unit((1, 0))
    no_texts = texts.clone().requires_grad_()
    text_semantic_opposite(texts, no_texts).backward()
    assert no_texts.grad is not None
    assert torch.isfinite(no_texts.grad).all()
