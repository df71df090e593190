"""Features of batches are the towers' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipn.data import images
from clipn.features import encode
from clipn.features.encode import encode_images, encode_texts
from clipn.features.inputs import Inputs
from clipn.features.shards import describe
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.utils.arrays import unit_norm
from tests.features.test_inputs import samples
from tests.features.test_shards import PARAMS, clip, png

__all__ = ["clip"]  # the fixture


def pixels_of(clip: Backbone, count: int) -> torch.Tensor:
    return torch.stack([clip.preprocess(images.decode(png(i), 10_000)) for i in range(count)])


def test_images_without_a_store_have_the_towers_features(clip: Backbone) -> None:
    pixels = pixels_of(clip, 3)
    batch = encode_images(clip, pixels, patches=True)
    expected = image_tower.encode(clip.model, pixels, patches=True)
    assert list(batch.keys) == ["0", "1", "2"]
    assert batch.image.dtype == np.float32
    torch.testing.assert_close(
        torch.from_numpy(batch.image), torch.nn.functional.normalize(expected.projected.detach())
    )
    assert expected.pooled is not None
    assert expected.patches is not None
    np.testing.assert_allclose(batch.pooled, expected.pooled.detach(), atol=1e-5)
    assert batch.patches is not None
    np.testing.assert_allclose(np.linalg.norm(batch.patches, axis=-1), 1, atol=1e-5)
    assert encode_images(clip, pixels).patches is None


def test_texts_are_encoded_in_parts_and_stay_in_order(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "TEXT_BATCH", 2)
    parts = []

    def tower(tokens: torch.Tensor) -> torch.Tensor:
        parts.append(len(tokens))
        return tokens.double()

    features = encode_texts(tower, torch.arange(10).reshape(5, 2))
    assert parts == [2, 2, 1]
    assert features.dtype == np.float32
    assert features.tolist() == torch.arange(10).reshape(5, 2).tolist()


def test_a_batch_keeps_keys_labels_and_tokens(clip: Backbone) -> None:
    entries = [entry for entry, _ in samples(2)]
    pixels = pixels_of(clip, 2)[:, None]
    evaluation = encode.encode(Inputs(entries, pixels, None, 0), clip, describe(clip, PARAMS, "evaluation"))()
    assert evaluation.label is not None
    assert (list(evaluation.keys), evaluation.label.tolist()) == (["0000", "0001"], [-1, -1])
    tokens = clip.tokenize(["a cat", "two red dogs"])
    training = encode.encode(Inputs(entries, pixels, tokens, 0), clip, describe(clip, PARAMS, "training"))()
    assert training.tokens is not None
    assert [row.tolist() for row in training.tokens] == [[t for t in row if t] for row in tokens.tolist()]
    assert training.text is not None
    np.testing.assert_allclose(unit_norm(training.text), clip.text(tokens).numpy(), atol=1e-5)
    assert training.views is None
