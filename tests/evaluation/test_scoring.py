"""Scores that are fitted once: which can be, and what they say of images in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipn import scores
from clipn.errors import NonFinite
from clipn.evaluation import scoring
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.scores import Evidence
from tests.training_data import unit

META = FeatureMeta(8, "abc", "none", 1.0, "evaluation", pooled=12)
RNG = np.random.default_rng(0)
PLAIN = Evidence(unit(RNG, 3, 8), logit_scale=20.0)
SEEDED = {seed: replace(PLAIN, no=unit(RNG, 3, 8)) for seed in (4, 7)}
BATCH = FeatureBatch([f"i{i}" for i in range(50)], unit(RNG, 50, 8).astype(np.float16))


def test_trained_methods_are_fitted_once_for_each_seed() -> None:
    panel, skipped = scoring.fit(["MCM", "CLIPN-ATD"], {None: PLAIN, **SEEDED}, META)
    assert not skipped
    assert [(m.name, m.trained, len(m.scores)) for m in panel.values()] == [("MCM", False, 1), ("CLIPN-ATD", True, 2)]
    assert panel["CLIPN-ATD"].needs("no", "words")
    assert not panel["MCM"].needs("no", "words")
    values = scoring.ask(panel, [BATCH])
    x = scores.features_of(BATCH, "image")
    assert (values["MCM"][0] == scores.fit("MCM", PLAIN).score(x)).all()
    for found, evidence in zip(values["CLIPN-ATD"], SEEDED.values(), strict=True):
        assert (found == scores.fit("CLIPN-ATD", evidence).score(x)).all()


def test_what_cannot_be_fed_is_named() -> None:
    nameless = replace(PLAIN, yes=None, images=replace(BATCH, pooled=np.ones((50, 12), np.float16)))
    panel, skipped = scoring.fit(["MCM", "CLIPN-CTW", "1-NN"], {None: nameless}, META)
    assert list(panel) == ["1-NN"]
    assert skipped == {"MCM": "needs class names and a text tower", "CLIPN-CTW": "needs a trained \"No\" text encoder"}
    panel, skipped = scoring.fit(["1-NN"], {None: nameless}, replace(META, pooled=0))
    assert (panel, skipped) == ({}, {"1-NN": "needs features before the projection, which this tower does not have"})
    assert scoring.fit(["1-NN"], {None: PLAIN}, META)[1]["1-NN"].startswith("needs ID images")


def test_parts_and_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    panel, _ = scoring.fit(["MaxLogit", "CLIPN-CTW"], {None: PLAIN, **SEEDED}, META)
    whole = scoring.ask(panel, [BATCH])
    monkeypatch.setattr(scoring, "BLOCK", 7)
    parts = scoring.ask(panel, [BATCH.rows(slice(0, 20)), BATCH.rows(slice(20, 50))])
    for name, values in whole.items():
        for one, other in zip(values, parts[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_columns_are_those_that_are_looked_at() -> None:
    evidence = {None: replace(PLAIN, images=replace(BATCH, pooled=np.ones((50, 12), np.float16)))}
    meta = replace(META, patches=5)
    assert scoring.columns(scoring.fit(["MCM"], evidence, meta)[0], meta) == ["image", "label"]
    panel, _ = scoring.fit(["MCM", "1-NN"], evidence, meta)
    assert scoring.columns(panel, meta) == ["image", "label", "pooled"]
    assert scoring.columns({}, meta, "pooled", "views") == ["label", "pooled"]
    assert scoring.needed(panel, meta) == META


def test_a_nan_is_traced_to_method_and_image() -> None:
    panel, _ = scoring.fit(["MCM"], {None: PLAIN}, META)
    image = BATCH.image.copy()
    image[3, 0] = np.nan
    with pytest.raises(NonFinite, match="MCM gave nan for image 'i3'"):
        scoring.ask(panel, [replace(BATCH, image=image)])
