"""Scores of the probe: what they are computed from, that it is trained once, and pseudo-labels."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from clipn.errors import InvalidData
from clipn.features.rows import FeatureBatch, unit_norm
from clipn.scores import Classifies, Evidence, linear_probe, probe
from clipn.scores.probe import PLP, OnProbe, ProbeEnergy, ProbeMSP
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, LABELS, degenerate, evidence

YES = unit_norm(np.stack([FEATURES[c == LABELS].mean(axis=0) for c in range(3)]))


def test_scores_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MIN_STEPS", 600)
    known = evidence()
    logits = linear_probe.train(FEATURES, LABELS, 3).logits(IMAGES)
    np.testing.assert_allclose(ProbeMSP().fit(known).score(IMAGES), softmax(logits, axis=1).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(ProbeEnergy().fit(known).score(IMAGES), logsumexp(logits, axis=1), rtol=1e-6)
    score = ProbeMSP().fit(known)
    assert isinstance(score, Classifies)
    assert score.predict(IMAGES).tolist() == logits.argmax(axis=1).tolist()
    assert (score.predict(FEATURES) == LABELS).mean() > 0.7


@pytest.mark.usefixtures("short_training")
def test_one_training_for_all_scores_of_the_same_evidence() -> None:
    known = evidence()
    first = ProbeMSP().fit(known).probe
    assert ProbeEnergy().fit(known).probe is first
    assert ProbeMSP().fit(replace(known)).probe is not first


@pytest.mark.usefixtures("short_training")
def test_a_probe_goes_with_its_evidence() -> None:
    known = evidence()
    probe.probe_of(known)
    held = len(probe._TRAINED)
    del known
    gc.collect()
    assert len(probe._TRAINED) < held


@pytest.mark.usefixtures("short_training")
def test_classes_are_those_that_have_names() -> None:
    five = np.eye(5, 6, dtype=np.float32)
    assert probe.probe_of(evidence(yes=five)).weight.shape == (5, 6)
    assert probe.probe_of(evidence()).weight.shape == (3, 6)
    with pytest.raises(InvalidData, match="has class 2, but there are 2 classes"):
        probe.probe_of(evidence(yes=five[:2]))


@pytest.mark.usefixtures("short_training")
def test_pseudo_labels_are_the_nearest_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "BLOCK", 7)
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
@pytest.mark.parametrize("make", [ProbeMSP, ProbeEnergy, PLP])
def test_finite(make: type[OnProbe], case: str) -> None:
    known = degenerate(case)
    if make is PLP:
        known = replace(known, yes=YES, images=replace(known.images, image=known.images.pooled + 1, label=None))
    assert np.isfinite(make().fit(known).score(IMAGES)).all()
