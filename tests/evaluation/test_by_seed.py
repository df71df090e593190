"""What is known of the classes, with the no encoder of each seed and by other names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipn import paths
from clipn.evaluation import by_seed, evidence
from clipn.evaluation.evidence import Sets
from clipn.models import backbone
from clipn.project.params import read_params
from tests.small_sets import illustrate


@pytest.fixture(autouse=True)
def project(scored_project: Path) -> Path:
    illustrate(scored_project)
    return scored_project


def test_each_seed_has_its_no_encoder_and_all_share_the_rest() -> None:
    params, clip = read_params(), backbone.load(paths.BACKBONE)
    sets = Sets.open(params, "pictographs", clip.fingerprint)
    found = by_seed.gather(params, sets, clip, ["1-NN", "CLIPN-CTW"])
    assert list(found) == [None, 0, 1]
    assert found[None].no is None
    for seed in (0, 1):
        alone = evidence.gather(params, sets, clip, ["1-NN", "CLIPN-CTW"], paths.model(seed))
        assert np.array_equal(found[seed].no, alone.no)  # type: ignore[arg-type]
        assert found[seed].no_logit_scale == alone.no_logit_scale
        assert found[seed].images is found[None].images is not None
    assert not np.array_equal(found[0].no, found[1].no)  # type: ignore[arg-type]


def test_without_a_trained_method_no_model_is_read(project: Path) -> None:
    params, clip = read_params(), backbone.load(paths.BACKBONE)
    sets = Sets.open(params, "pictographs", clip.fingerprint)
    (project / "models").rename(project / "away")
    assert list(by_seed.gather(params, sets, clip, ["MCM"])) == [None]


def test_other_names_and_sentences_change_the_texts_alone() -> None:
    params, clip = read_params(), backbone.load(paths.BACKBONE)
    sets = Sets.open(params, "pictographs", clip.fingerprint)
    known = by_seed.gather(params, sets, clip, ["1-NN", "CLIPN-CTW"])
    named = by_seed.renamed(params, sets, clip, known, ("moon", "cloud"))
    asked = by_seed.renamed(params, sets, clip, known, sets.classes, templates="simple")
    for seed in (None, 0, 1):
        assert named[seed].images is asked[seed].images is known[seed].images
        before, after = known[seed].yes, named[seed].yes
        assert before is not None
        assert after is not None
        assert (before[0] != after[0]).any()
        np.testing.assert_allclose(before[1], after[1], atol=1e-6)
        assert not np.allclose(before, asked[seed].yes)  # type: ignore[arg-type]
    assert named[None].no is None
    assert (np.abs(known[0].no - named[0].no).max(axis=1) > 1e-4).tolist() == [True, False]  # type: ignore[operator]


def test_images_lie_where_the_stages_put_them() -> None:
    params, clip = read_params(), backbone.load(paths.BACKBONE)
    found = by_seed.images(Sets.open(params, "pictographs", clip.fingerprint))
    assert list(found) == ["pictographs", "greek", "digits", "pictographs_fit"]
    entries = found["greek"].entries(["2"])
    assert [key for key, _ in found["greek"].decoded(entries.values(), 10_000)] == ["2"]
