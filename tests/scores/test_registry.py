"""What every score says of itself."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from clipn import scores
from clipn.errors import InvalidParams
from clipn.features.rows import FeatureBatch
from clipn.scores import Evidence
from clipn.scores.word_features import WordFeatures

RNG = np.random.default_rng(0)


def unit(*shape: int) -> np.ndarray:
    values = RNG.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


IMAGES = FeatureBatch(
    [str(i) for i in range(40)],
    unit(40, 8),
    label=np.arange(40, dtype=np.int32) % 4,
    pooled=RNG.normal(size=(40, 12)).astype(np.float16),
    patches=unit(40, 3, 8),
)
WORDS = WordFeatures(
    tuple(f"w{i}" for i in range(300)),
    ("noun",) * 100 + ("adjective",) * 100 + ("phrase",) * 100,
    ("noun.artifact",) * 100 + ("adj.all",) * 200,
    unit(300, 8),
)
EVIDENCE = Evidence(unit(4, 8), unit(4, 8), 20.0, words=WORDS, images=IMAGES)


@pytest.mark.parametrize("name", scores.REGISTRY)
def test_with_all_evidence_every_score_gives_one_number_an_image(name: str) -> None:
    score = scores.fit(name, EVIDENCE)
    images = scores.features_of(IMAGES, score.takes)[:7]
    values = score.score(images)
    assert values.shape == (7,)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    np.testing.assert_allclose(score.score(images[2:5]), values[2:5], rtol=1e-4, atol=1e-5)  # each image alone
    if isinstance(score, scores.DecidesAlone):
        assert score.keeps(images).dtype == bool
    if isinstance(score, scores.Classifies):
        assert set(score.predict(images)) <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", scores.REGISTRY)
def test_what_a_score_needs_is_what_it_cannot_do_without(name: str) -> None:
    nothing = Evidence(None)
    assert scores.missing(name, EVIDENCE) is None
    said = scores.missing(name, nothing)
    assert said is not None
    assert all(scores.NEEDS[need] in said for need in scores.REGISTRY[name].needs)
    with pytest.raises(InvalidParams, match=f"{name.replace('+', '[+]')} needs "):
        scores.fit(name, nothing)


def test_only_what_has_a_no_encoder_depends_on_the_seed() -> None:
    trained = {name for name in scores.REGISTRY if scores.is_trained(name)}
    assert {"CLIPN-CTW", "CLIPN-ATD", "NegATD"} <= trained
    assert not {"MCM", "NegLabel", "1-NN", "Probe-MSP"} & trained


def test_combinations_are_scores() -> None:
    assert scores.REGISTRY.keys() >= scores.COMBINED


def test_names_and_needs_are_read_without_the_libraries_that_compute() -> None:
    libraries = ("pandas", "pyarrow", "scipy", "sklearn", "torch")
    program = f"import sys, clipn.scores; print([name for name in {libraries} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
