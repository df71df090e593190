"""Scores that are fitted once: which can be, and what they say of images in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipn import scores
from clipn.errors import NonFinite
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.scores import Evidence
from clipn.scores.panel import Panel, kinds_in, kinds_of
from tests.training_data import unit

META = FeatureMeta(8, "abc", "none", 1.0, "evaluation", pooled=12)
KINDS = kinds_of(META)
RNG = np.random.default_rng(0)
PLAIN = Evidence(unit(RNG, 3, 8), logit_scale=20.0)
SEEDED = {seed: replace(PLAIN, no=unit(RNG, 3, 8)) for seed in (4, 7)}
BATCH = FeatureBatch([f"i{i}" for i in range(50)], unit(RNG, 50, 8).astype(np.float16))


def test_trained_methods_are_fitted_once_for_each_seed() -> None:
    panel = Panel.fit(["MCM", "CLIPN-ATD"], {None: PLAIN, **SEEDED}, KINDS)
    assert not panel.skipped
    methods = [(method.name, method.trained, len(method.scores)) for method in panel.methods.values()]
    assert methods == [("MCM", False, 1), ("CLIPN-ATD", True, 2)]
    assert panel.methods["CLIPN-ATD"].needs("no", "words")
    assert not panel.methods["MCM"].needs("no", "words")
    values = panel.score([BATCH])
    x = scores.features_of(BATCH, "image")
    assert (values["MCM"][0] == scores.fit("MCM", PLAIN).score(x)).all()
    for found, evidence in zip(values["CLIPN-ATD"], SEEDED.values(), strict=True):
        assert (found == scores.fit("CLIPN-ATD", evidence).score(x)).all()


def test_what_cannot_be_fed_is_named() -> None:
    nameless = replace(PLAIN, yes=None, images=replace(BATCH, pooled=np.ones((50, 12), np.float16)))
    panel = Panel.fit(["MCM", "CLIPN-CTW", "1-NN"], {None: nameless}, KINDS)
    assert list(panel.methods) == ["1-NN"]
    assert panel.skipped == {
        "MCM": "needs class names and a text tower",
        "CLIPN-CTW": 'needs a trained "No" text encoder',
    }
    panel = Panel.fit(["1-NN"], {None: nameless}, kinds_of(replace(META, pooled=0)))
    assert panel.methods == {}
    assert panel.skipped == {"1-NN": "needs features before the projection, which this tower does not have"}
    assert Panel.fit(["1-NN"], {None: PLAIN}, KINDS).skipped["1-NN"].startswith("needs ID images")


def test_parts_and_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Panel.fit(["MaxLogit", "CLIPN-CTW"], {None: PLAIN, **SEEDED}, KINDS)
    whole = panel.score([BATCH])
    monkeypatch.setattr("clipn.scores.panel.BLOCK", 7)
    parts = panel.score([BATCH.rows(slice(0, 20)), BATCH.rows(slice(20, 50))])
    for name, values in whole.items():
        for one, other in zip(values, parts[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_columns_are_those_that_are_looked_at() -> None:
    evidence = {None: replace(PLAIN, images=replace(BATCH, pooled=np.ones((50, 12), np.float16)))}
    meta = replace(META, patches=5)
    assert Panel.fit(["MCM"], evidence, kinds_of(meta)).columns(meta) == ["image", "label"]
    panel = Panel.fit(["MCM", "1-NN"], evidence, kinds_of(meta))
    assert panel.columns(meta) == ["image", "label", "pooled"]
    assert Panel({}).columns(meta, "pooled", "views") == ["label", "pooled"]
    assert panel.needed(meta) == META


def test_a_nan_is_traced_to_method_and_image() -> None:
    panel = Panel.fit(["MCM"], {None: PLAIN}, KINDS)
    image = BATCH.image.copy()
    image[3, 0] = np.nan
    with pytest.raises(NonFinite, match="MCM gave nan for image 'i3'"):
        panel.score([replace(BATCH, image=image)])


def test_a_method_gives_its_own_decision_and_classes() -> None:
    labelled = replace(BATCH, label=np.arange(50, dtype=np.int32) % 3, pooled=unit(RNG, 50, 12).astype(np.float16))
    evidence = {None: replace(PLAIN, images=labelled), 4: SEEDED[4]}
    judged = Panel.fit(["MCM", "CLIPN-CTW", "1-NN"], evidence, KINDS).judge([labelled])
    assert (judged["MCM"][0].keeps, judged["MCM"][0].classes) == (None, None)
    keeps = judged["CLIPN-CTW"][0].keeps
    assert keeps is not None
    assert keeps.shape == (50,)
    assert (judged["1-NN"][0].classes == labelled.label).all()  # each image is its own nearest neighbour


def test_kinds_of_a_store_and_of_a_batch() -> None:
    assert kinds_of(META) == {"image", "pooled"}
    assert kinds_of(replace(META, patches=4, pooled=0)) == {"image", "patches"}
    assert kinds_in(BATCH) == {"image"}
