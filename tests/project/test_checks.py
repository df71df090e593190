"""Parameters that are valid alone but contradict each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipn.config import Params, PartParams
from clipn.project import checks, profiles
from clipn.project.params import parse_params
from tests.conftest import ROOT


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(ROOT)
    return parse_params(profiles.compose("miniature"))


def test_the_default_has_no_contradiction(params: Params) -> None:
    assert checks.contradictions(params) == []


def test_all_contradictions_are_found(params: Params) -> None:
    wrong = replace(
        params,
        overlap=replace(params.overlap, against_training=False, leave_out="id-and-training"),
        features=replace(params.features, view_scale=(1.0, 0.5)),
        train=replace(params.train, check=replace(params.train.check, id="dingbats", ood="dingbats")),
    )
    assert checks.contradictions(wrong) == [
        "overlap.leave_out: 'id-and-training' needs overlap.against_training: true",
        "train.check: 'dingbats' cannot be both ID and OOD",
        "features.view_scale: (1.0, 0.5) has to rise, from above 0",
    ]


def test_duplicates_of_id_images_need_no_training_images(params: Params) -> None:
    alone = replace(params.overlap, against_training=False, leave_out="id")
    assert checks.contradictions(replace(params, overlap=alone)) == []


def test_id_images_and_validation_must_not_be_tested(params: Params) -> None:
    own = replace(params.benchmarks["pictographs"], fit="pictographs", validation="emoticons")
    wrong = replace(params, benchmarks={**params.benchmarks, "pictographs": own})
    problems = checks.contradictions(wrong)
    assert problems[0] == ("benchmarks.pictographs.fit: 'pictographs' is tested too; take other images, as with part")
    assert "benchmarks.pictographs.validation: 'emoticons' holds the test set 'arrows'" in problems
    assert "benchmarks.pictographs.validation: 'emoticons' is not in evaluate.benchmarks" in problems


def test_studies_know_their_benchmarks_and_methods(params: Params) -> None:
    wrong = replace(
        params,
        sets={**params.sets, "greek": replace(params.sets["greek"], part=PartParams(of=2, take=(3,)))},
        study=replace(
            params.study,
            methods=("CLIPN-CTW", "Magic"),
            backbones={"bare": replace(params.backbone, source="timm", name=None)},
        ),
        attack=replace(params.attack, benchmarks=("nowhere",), methods=("Probe-MSP",)),
        robustness=replace(params.robustness, templates=("poems",)),
        backbone=replace(params.backbone, source="timm", name="resnet10t"),
    )
    problems = "\n".join(checks.contradictions(wrong))
    for part in (
        "study.methods: unknown method 'Magic'; known: MSP",
        "study.methods: 'CLIPN-CTW' needs a \"No\" text encoder",
        "study.backbones.bare: source 'timm' needs name",
        "attack.benchmarks: unknown benchmark 'nowhere'; known: pictographs",
        "attack.methods: 'Probe-MSP' needs labels",
        "robustness.templates: unknown set 'poems'; known: symbols",
        "sets.greek.part: there is no part 3 of 2",
        "backbone.source: 'timm' has no text tower",
    ):
        assert part in problems
