"""ReAct against pytorch-ood, on the same classifier."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from clipn.scores.react import ReAct
from tests.scores.id_images import DEGENERATE, FEATURES, IMAGES, PROBE, degenerate, evidence

# pytorch-ood 0.4.0 with the weights of PROBE.folded(): ReAct(identity, head).fit_feature_maps(FEATURES, LABELS)
# .predict_feature_maps(IMAGES); theirs are outlier scores, so the sign is the other.
PYTORCH_OOD_REACT = [10.131864547729492, 6.804256439208984, 6.717039108276367, 3.8554067611694336, 2.896347761154175]
REACT_THRESHOLD = 4.764576435089111


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


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("case", DEGENERATE)
def test_finite(case: str) -> None:
    assert np.isfinite(ReAct().fit(degenerate(case)).score(IMAGES)).all()
