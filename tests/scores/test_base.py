"""Stored features as scores take them."""

from __future__ import annotations

import numpy as np

from clipn.features.rows import FeatureBatch
from clipn.scores.base import Evidence, features_of

IMAGE = np.array([[3, 4], [0, 2]], np.float16)


def test_images_have_unit_norm_and_pooled_features_stay_what_they_are() -> None:
    batch = FeatureBatch(["a", "b"], IMAGE, pooled=10 * IMAGE)
    np.testing.assert_allclose(features_of(batch, "image"), [[0.6, 0.8], [0, 1]], rtol=1e-6)
    assert features_of(batch, "pooled").tolist() == [[30, 40], [0, 20]]
    assert features_of(batch, "pooled").dtype == np.float32


def test_patches_come_after_the_whole_and_one_where_nothing_is_stays_nothing() -> None:
    patches = np.array([[[0, 0], [0, 5]], [[1, 0], [0, 0]]], np.float16)
    found = features_of(FeatureBatch(["a", "b"], IMAGE, patches=patches), "patches")
    np.testing.assert_allclose(found, [[[0.6, 0.8], [0, 0], [0, 1]], [[0, 1], [1, 0], [0, 0]]], rtol=1e-6)


def test_labels_count_only_if_every_image_has_one() -> None:
    for label, expected in ((np.array([0, 1], np.int32), True), (np.array([0, -1], np.int32), False), (None, False)):
        evidence = Evidence(None, images=FeatureBatch(["a", "b"], IMAGE, label=label))
        assert evidence.has("labels") is expected
    assert not Evidence(None).has("labels")
