"""Evidence of the ID classes: with the "No" text encoder of each seed, by other names, without shared images."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipn import paths
from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, MissingInput
from clipn.evaluation.evidence import Sets, Sources
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.project.params import read_params
from clipn.prompts import words
from clipn.scores.word_features import WordFeatures
from tests.small_sets import illustrate
from tests.training_data import unit

MODELS = {seed: paths.model(seed) for seed in (0, 1)}


@pytest.fixture(autouse=True)
def project(scored_project: Path) -> Path:
    illustrate(scored_project)
    return scored_project


@pytest.fixture
def clip(project: Path) -> Backbone:
    return backbone.load(paths.BACKBONE)


@pytest.fixture
def sets(clip: Backbone) -> Sets:
    benchmark = read_params().benchmarks["pictographs"]
    return Sets.open(benchmark, clip.fingerprint, paths.SET_FEATURES, paths.SETS)


def test_each_seed_has_its_no_text_encoder_and_all_share_the_rest(clip: Backbone, sets: Sets) -> None:
    sources = Sources(clip, sets, "symbols")
    evidence = sources.gather_by_seed(["1-NN", "CLIPN-CTW"], MODELS)
    assert list(evidence) == [None, 0, 1]
    assert evidence[None].no is None
    for seed, model in MODELS.items():
        alone = sources.gather(["1-NN", "CLIPN-CTW"], model)
        assert np.array_equal(evidence[seed].no, alone.no)  # type: ignore[arg-type]
        assert evidence[seed].no_logit_scale == alone.no_logit_scale
        assert evidence[seed].images is evidence[None].images is not None
    assert not np.array_equal(evidence[0].no, evidence[1].no)  # type: ignore[arg-type]


def test_without_a_trained_method_no_model_is_read(project: Path, clip: Backbone, sets: Sets) -> None:
    (project / "models").rename(project / "away")
    assert list(Sources(clip, sets, "symbols").gather_by_seed(["MCM"], MODELS)) == [None]


def test_other_names_and_sentences_change_the_texts_alone(clip: Backbone, sets: Sets) -> None:
    sources = Sources(clip, sets, "symbols")
    evidence = sources.gather_by_seed(["1-NN", "CLIPN-CTW"], MODELS)
    renamed = sources.renamed(evidence, MODELS, ("moon", "cloud"))
    in_other_sentences = sources.renamed(evidence, MODELS, sets.classes, templates="simple")
    for seed in (None, 0, 1):
        assert renamed[seed].images is in_other_sentences[seed].images is evidence[seed].images
        before, after = evidence[seed].yes, renamed[seed].yes
        assert before is not None
        assert after is not None
        assert (before[0] != after[0]).any()
        np.testing.assert_allclose(before[1], after[1], atol=1e-6)
        assert not np.allclose(before, in_other_sentences[seed].yes)  # type: ignore[arg-type]
    assert renamed[None].no is None
    assert (np.abs(evidence[0].no - renamed[0].no).max(axis=1) > 1e-4).tolist() == [True, False]  # type: ignore[operator]


def test_words_that_name_a_class_are_no_negative_labels(clip: Backbone, sets: Sets, tmp_path: Path) -> None:
    names = (sets.classes[0].upper(), "gravel", "a plank")
    features = unit(np.random.default_rng(0), 3, sets.stores["greek"].meta.dim)
    words.write(tmp_path / "w.parquet", WordFeatures(names, ("noun",) * 3, ("",) * 3, features), clip.fingerprint)
    sources = Sources(clip, sets, "symbols", words=tmp_path / "w.parquet")
    listed = sources.gather(["NegLabel"]).words
    assert listed is not None
    assert listed.entries == ("gravel", "a plank")
    assert sources.gather(["MCM"]).words is None
    assert replace(sources, words=tmp_path / "none").gather(["NegLabel"]).words is None


def test_images_lie_where_the_stages_put_them(sets: Sets) -> None:
    images = sets.lookup()
    assert list(images) == ["pictographs", "greek", "digits", "pictographs_fit"]
    entries = images["greek"].entries(["2"])
    assert [key for key, _ in images["greek"].decoded(entries.values(), 10_000)] == ["2"]
    with pytest.raises(MissingInput, match="needs the images of the sets"):
        replace(sets, images=None).lookup()


def test_a_set_without_features_is_named(sets: Sets) -> None:
    with pytest.raises(MissingInput, match="set 'moon' has no features; given are pictographs, greek"):
        Sets(BenchmarkParams(id="pictographs", ood=("moon",)), sets.stores)


def test_id_images_need_classes(sets: Sets) -> None:
    nameless = copy.copy(sets.stores["digits"])
    nameless.meta = replace(nameless.meta, classes=())
    with pytest.raises(InvalidData, match="ID set 'digits' has no classes"):
        Sets(BenchmarkParams(id="digits", ood=("greek",)), {**sets.stores, "digits": nameless})


@pytest.mark.parametrize("with_images", [True, False])
def test_fit_and_test_images_may_not_be_shared(sets: Sets, with_images: bool) -> None:
    """By the digests of the files where there are any, else by the features."""
    shared = BenchmarkParams(id="pictographs", ood=("greek",), fit="pictographs")
    count = len(sets.stores["pictographs"])
    with pytest.raises(InvalidData, match=f"share {count} images"):
        Sets(shared, sets.stores, paths.SETS if with_images else None)
    assert Sets(sets.benchmark, sets.stores, paths.SETS if with_images else None).classes
