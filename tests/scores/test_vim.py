"""ReAct and ViM against pytorch-ood, on the same classifier."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from clipn.scores import vim
from clipn.scores.vim import ReAct, ViM
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, PROBE, degenerate, evidence

# pytorch-ood 0.4.0 with the weights of PROBE.folded(): ReAct(identity, head).fit_feature_maps(FEATURES, LABELS)
# .predict_feature_maps(IMAGES), and ViM(None, 3, weight, bias).fit_features(...).predict_features(IMAGES); theirs are
# outlier scores, so the sign is the other.
PYTORCH_OOD_REACT = [10.131864547729492, 6.804256439208984, 6.717039108276367, 3.8554067611694336, 2.896347761154175]
REACT_THRESHOLD = 4.764576435089111
PYTORCH_OOD_VIM = [0.5755319595336914, -2.3377981185913086, -0.7729477882385254, -2.267125129699707, -8.771156311035156]
VIM_ALPHA = 2.171527624130249


@pytest.mark.usefixtures("given_probe")
def test_react_as_pytorch_ood_has_it() -> None:
    score = ReAct().fit(evidence())
    assert score.clip == pytest.approx(REACT_THRESHOLD, rel=1e-6)
    np.testing.assert_allclose(score.score(IMAGES), PYTORCH_OOD_REACT, rtol=1e-5)


@pytest.mark.usefixtures("given_probe")
def test_react_that_clips_nothing_is_the_energy() -> None:
    low = np.minimum(IMAGES, FEATURES.max())
    expected = logsumexp(PROBE.logits(low), axis=1)
    np.testing.assert_allclose(ReAct(percentile=100).fit(evidence()).score(low), expected, rtol=1e-6)


@pytest.mark.usefixtures("given_probe")
@pytest.mark.parametrize("block", [7, 8192])
def test_vim_as_pytorch_ood_has_it(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(vim, "BLOCK", block)
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


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("make", [ReAct, ViM])
def test_finite(make: type[ReAct] | type[ViM], case: str) -> None:
    assert np.isfinite(make().fit(degenerate(case)).score(IMAGES)).all()
