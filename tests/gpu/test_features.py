"""Features and gradients of a GPU are those of the CPU."""

from __future__ import annotations

import torch

from clipn.models.backbone import Backbone
from tests.gpu.conftest import (
    captions,
    crops,
    gradients,
    image_features,
    relative_error,
    stored_image_features,
    text_features,
)

Clips = tuple[Backbone, Backbone]


def test_image_features_in_float32(clips: Clips) -> None:
    expected, features = (image_features(clip, crops(48)) for clip in clips)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_image_features_as_they_are_stored(clips: Clips) -> None:
    expected, features = (stored_image_features(clip, crops(48)) for clip in clips)
    assert relative_error(features, expected) <= 2e-2


def test_text_features_in_float32(clips: Clips) -> None:
    expected, features = (text_features(clip, captions(200)) for clip in clips)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_text_features_in_bfloat16(clips: Clips) -> None:
    expected = text_features(clips[0], captions(200))
    assert relative_error(text_features(clips[1], captions(200), half=True), expected) <= 2e-2


def test_gradients_of_the_no_text_encoder(clips: Clips) -> None:
    expected, computed = (gradients(clip, captions(64)) for clip in clips)
    assert computed.keys() == expected.keys()
    assert max(errors(computed, expected).values()) <= 1e-4, errors(computed, expected)


def test_gradients_of_the_no_text_encoder_in_bfloat16(clips: Clips) -> None:
    expected = gradients(clips[0], captions(64))
    computed = gradients(clips[1], captions(64), half=True)
    assert computed.keys() == expected.keys()
    assert max(errors(computed, expected).values()) <= 5e-2, errors(computed, expected)


def errors(computed: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the error of each gradient relative to its length; a gradient near zero has that of all to compare."""
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    return {
        name: float((computed[name] - value).norm() / (value.norm() + 1e-3 * whole)) for name, value in expected.items()
    }
