"""The probe against scikit-learn's logistic regression, and what a training run has to keep to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from clipn.errors import InvalidData, NonFinite
from clipn.scores import linear_probe
from clipn.scores.linear_probe import LinearProbe, train

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 12))
LABELS = np.arange(1200) % 4
FEATURES = ((CENTRES[LABELS] + 0.8 * RNG.normal(size=(1200, 12))) * np.arange(1, 13) + 5).astype(np.float32)
FEW = FEATURES[:80], LABELS[:80]


@pytest.fixture(scope="module")
def probe() -> LinearProbe:
    return train(FEATURES[:1000], LABELS[:1000], 4)


def test_it_classifies_like_logistic_regression(probe: LinearProbe) -> None:
    reference = LogisticRegression().fit(probe.standardise(FEATURES[:1000]), LABELS[:1000])
    expected = reference.score(probe.standardise(FEATURES[1000:]), LABELS[1000:])
    accuracy = (probe.logits(FEATURES[1000:]).argmax(axis=1) == LABELS[1000:]).mean()
    assert expected > 0.9
    assert accuracy == pytest.approx(expected, abs=0.01)  # two images


def test_the_loss_falls(probe: LinearProbe) -> None:
    assert len(probe.losses) == 500  # four steps each
    assert probe.losses[-1] < 0.5 * probe.losses[0]
    logits = torch.from_numpy(probe.logits(FEATURES[:1000]))
    now = torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[:1000]))
    assert probe.losses[-1] == pytest.approx(now.item(), rel=1e-3)


def test_run_to_its_end_it_is_the_regularised_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "WEIGHT_DECAY", 0.1)
    monkeypatch.setattr(linear_probe, "LR", 0.02)  # the default would take ten thousand steps
    features, labels = FEW
    probe = train(features, labels, 4, epochs=1500)
    # Adam decays the bias too, so it is one more weight here, on a feature that is always 1.
    inputs = np.concatenate([probe.standardise(features), np.ones((80, 1))], axis=1)
    reference = LogisticRegression(C=1 / (0.1 * 80), fit_intercept=False, tol=1e-8).fit(inputs, labels)
    found = np.concatenate([probe.weight, probe.bias[:, None]], axis=1)
    assert np.abs(reference.coef_).max() > 0.2
    np.testing.assert_allclose(found, reference.coef_, atol=1e-3)


def test_features_are_standardised() -> None:
    features, labels = FEW
    probe = train(features, labels, 4, epochs=1)
    standardised = probe.standardise(features)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, rtol=1e-5)


def test_folded_weights_take_features_as_they_are(probe: LinearProbe) -> None:
    weight, bias = probe.folded()
    np.testing.assert_allclose(FEATURES @ weight.T + bias, probe.logits(FEATURES), atol=1e-4)


def test_a_seed_decides_everything() -> None:
    before = torch.random.get_rng_state()
    same, again, other = (train(*FEW, 4, seed=seed, epochs=3) for seed in (5, 5, 6))
    assert (same.weight == again.weight).all()
    assert (same.bias == again.bias).all()
    assert not np.allclose(same.weight, other.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_number_of_threads_does_not_decide() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = train(FEATURES, LABELS, 4, epochs=2)
        torch.set_num_threads(2)
        two = train(FEATURES, LABELS, 4, epochs=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(one.weight, two.weight)


@pytest.mark.parametrize(("many", "batches"), [(1201, 5), (1200, 2)])
def test_schedule(monkeypatch: pytest.MonkeyPatch, many: int, batches: int) -> None:
    monkeypatch.setattr(linear_probe, "MANY", many)
    monkeypatch.setattr(linear_probe, "LARGE_BATCH", 1000)
    rates: list[float] = []
    monkeypatch.setattr(linear_probe, "set_lr", lambda optimizer, rate: rates.append(rate))
    told: list[tuple[int, int]] = []
    train(FEATURES, LABELS, 4, epochs=20, progress=lambda done, total: told.append((done, total)))
    steps = 20 * batches
    assert len(rates) == steps
    assert max(rates) == 1e-3
    assert np.argmax(rates) == steps // 10 - 1
    assert rates[0] == pytest.approx(1e-3 / (steps // 10))
    assert rates[-1] < 1e-5
    assert told == [(epoch + 1, 20) for epoch in range(20)]


def test_a_constant_feature_does_not_count() -> None:
    features, labels = FEW
    constant = np.concatenate([features, np.full((80, 1), 0.3, np.float32)], axis=1)
    probe = train(constant, labels, 4, epochs=3)
    changed = constant.copy()
    changed[:, -1] = 100
    assert np.isfinite(probe.weight).all()
    np.testing.assert_array_equal(probe.logits(changed), probe.logits(constant))


def test_a_class_without_images_is_unlikely() -> None:
    probe = train(FEATURES, LABELS, 6, epochs=100)
    assert set(probe.logits(FEATURES).argmax(axis=1)) == {0, 1, 2, 3}


def test_a_label_that_is_no_class() -> None:
    with pytest.raises(InvalidData, match="image 3 of those that fit the linear probe has class 4, but there are 4"):
        train(FEATURES[:4], np.array([0, 1, 2, 4]), 4)


def test_a_feature_that_is_no_number() -> None:
    features = FEATURES[:6].copy()
    features[2, 1] = np.inf
    with pytest.raises(NonFinite, match="feature of image 2 is NaN or infinite"):
        train(features, LABELS[:6], 4)
