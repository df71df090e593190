"""ViM against pytorch-ood, on the same classifier, and its principal space against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.decomposition import PCA

from clipn.scores import shared_covariance, vim
from clipn.scores.vim import ViM
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, PROBE, degenerate, evidence

# pytorch-ood 0.4.0 with the weights of PROBE.folded(): ViM(None, 3, weight, bias).fit_features(FEATURES, LABELS)
# .predict_features(IMAGES); theirs are outlier scores, so the sign is the other.
PYTORCH_OOD_VIM = [0.5755319595336914, -2.3377981185913086, -0.7729477882385254, -2.267125129699707, -8.771156311035156]
VIM_ALPHA = 2.171527624130249


@pytest.mark.usefixtures("given_probe")
@pytest.mark.parametrize("block", [7, 8192])
def test_vim_as_pytorch_ood_has_it(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(shared_covariance, "BLOCK", block)
    score = ViM().fit(evidence())
    assert score.alpha == pytest.approx(VIM_ALPHA, rel=1e-5)
    np.testing.assert_allclose(score.score(IMAGES), PYTORCH_OOD_VIM, rtol=1e-5)


@pytest.mark.usefixtures("given_probe")
def test_the_mean_virtual_logit_is_the_mean_largest_logit() -> None:
    score = ViM().fit(evidence())
    virtual = logsumexp(PROBE.logits(FEATURES), axis=1) - score.score(FEATURES)
    assert virtual.mean() == pytest.approx(PROBE.logits(FEATURES).max(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("features", "spanned", "principal"),
    [
        (4096, 4096, 1000),
        (2048, 2048, 1000),
        (2047, 2047, 512),
        (768, 768, 512),
        (767, 767, 383),
        (768, 513, 512),
        (768, 512, 256),
        (768, 100, 50),
        (768, 1, 0),
    ],
)
def test_size_of_the_principal_space(features: int, spanned: int, principal: int) -> None:
    assert vim._principal(features, spanned) == principal


@pytest.mark.usefixtures("given_probe")
def test_vim_of_few_images_has_a_residual() -> None:
    few = evidence(FEATURES[:2], np.array([0, 1]))
    score = ViM().fit(few)
    assert score._residual.shape == (6, 5)  # two images span two directions, of which one is principal
    assert 0.01 < abs(score.alpha) < 100


@pytest.mark.usefixtures("given_probe")
def test_the_residual_is_what_principal_components_leave() -> None:
    weight, bias = PROBE.folded()
    off = FEATURES + np.linalg.pinv(weight) @ bias
    reference = PCA(n_components=3).fit(np.concatenate([off, -off]))  # mirrored, so that its mean is the origin
    expected = np.linalg.norm(off - reference.inverse_transform(reference.transform(off)), axis=1)
    np.testing.assert_allclose(ViM().fit(evidence())._residual_norm(FEATURES), expected, rtol=1e-6)


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("case", DEGENERATE)
def test_finite(case: str) -> None:
    assert np.isfinite(ViM().fit(degenerate(case)).score(IMAGES)).all()
