"""Pseudo-labels: where they come from and what is trained on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from clipn.features.rows import FeatureBatch
from clipn.scores import Classifies, Evidence, linear_probe, plp
from clipn.scores.plp import PLP
from clipn.utils.arrays import unit_norm
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence

YES = unit_norm(np.stack([FEATURES[c == LABELS].mean(axis=0) for c in range(3)]))


@pytest.mark.usefixtures("short_training")
def test_pseudo_labels_are_the_nearest_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plp, "BLOCK", 7)
    known = evidence(labels=None, yes=YES)
    pseudo = (unit_norm(FEATURES) @ YES.T).argmax(axis=1)
    expected = linear_probe.train(FEATURES, pseudo, 3)
    score = PLP().fit(known)
    np.testing.assert_array_equal(score.probe.weight, expected.weight)
    np.testing.assert_allclose(score.score(IMAGES), softmax(expected.logits(IMAGES), axis=1).max(axis=1), rtol=1e-6)
    assert isinstance(score, Classifies)


def test_pseudo_labels_look_at_the_projected_features_and_the_probe_at_those_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linear_probe, "MIN_STEPS", 600)
    projected = np.eye(2, dtype=np.float32)[LABELS.clip(max=1)]
    images = FeatureBatch([str(i) for i in range(30)], projected, pooled=FEATURES)
    score = PLP().fit(Evidence(yes=np.eye(4, 2, dtype=np.float32), images=images))
    np.testing.assert_array_equal(score.probe.weight, linear_probe.train(FEATURES, LABELS.clip(max=1), 4).weight)
    assert softmax(score.probe.logits(FEATURES), axis=1)[:, 2:].mean() < 0.25  # nobody gets the last two


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("case", DEGENERATE)
def test_finite(case: str) -> None:
    images = degenerate(case).images
    assert images is not None
    images = replace(images, image=images.pooled + 1, label=None)
    assert np.isfinite(PLP().fit(Evidence(YES, images=images)).score(IMAGES)).all()
