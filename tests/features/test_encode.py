"""Features of batches are the towers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clipn.data import images
from clipn.data.manifest import Entry
from clipn.features import encode
from clipn.features.crops import Crops, batches, cropper
from clipn.features.encode import Inputs, encode_images, encode_set, encode_texts
from clipn.features.inputs import read_crops
from clipn.features.shards import describe
from clipn.models import image_tower
from clipn.models.backbone import Backbone
from clipn.utils.arrays import unit_norm
from tests.features.test_shards import PARAMS, clip, png
from tests.small_sets import PARAMS as SMALL
from tests.small_sets import picture, write_set

__all__ = ["clip"]  # the fixture


def crops_of(clip: Backbone, count: int) -> Crops:
    return np.stack([cropper(clip)(images.decode(png(i), 10_000)) for i in range(count)])


def test_images_without_a_store_have_the_towers_features(clip: Backbone) -> None:
    pixels = torch.stack([clip.preprocess(images.decode(png(i), 10_000)) for i in range(3)])
    batch = encode_images(clip, crops_of(clip, 3), patches=True)
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
    assert encode_images(clip, crops_of(clip, 3)).patches is None


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
    entries = [Entry(f"{i:04d}", f"{i}.png") for i in range(2)]
    pixels = torch.from_numpy(crops_of(clip, 2))[:, None]
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


def test_features_of_crops_are_those_of_the_store(clip: Backbone, tmp_path: Path) -> None:
    given = write_set(tmp_path / "set", clip, [picture(i) for i in range(5)], ("even", "odd"))
    stored = given.features.load()
    found = read_crops(given, stored.keys, clip, SMALL.max_pixels)
    encoded = encode_set(clip, given.features.meta, batches(found, 2), stored.keys, stored.label)
    assert encoded.keys == stored.keys
    assert encoded.image.dtype == np.float16
    np.testing.assert_allclose(encoded.image, stored.image, atol=1e-3)
    assert encoded.pooled is not None
    np.testing.assert_allclose(encoded.pooled, stored.pooled, atol=2e-3)
    assert encoded.label is not None
    assert encoded.label.tolist() == [0, 1, 0, 1, 0]
    unlabelled = encode_set(clip, given.features.meta, [found], stored.keys, None)
    assert unlabelled.label is not None
    assert unlabelled.label.tolist() == [-1] * 5
