"""Parameters that are valid alone but contradict each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clipn import config, consistency, profiles
from clipn.config import Params

ROOT = Path(__file__).parent.parent


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(ROOT)
    return config.parse(profiles.compose("miniature"))


def test_the_default_has_no_contradiction(params: Params) -> None:
    assert consistency.contradictions(params) == []


def test_all_contradictions_are_found(params: Params) -> None:
    wrong = replace(
        params,
        overlap=replace(params.overlap, against_training=False, leave_out="id-and-training"),
        features=replace(params.features, view_scale=(1.0, 0.5)),
        train=replace(params.train, check=replace(params.train.check, id="dingbats", ood="dingbats")),
    )
    assert consistency.contradictions(wrong) == [
        "overlap.leave_out: 'id-and-training' needs overlap.against_training: true",
        "train.check: 'dingbats' cannot be both ID and OOD",
        "features.view_scale: (1.0, 0.5) has to rise, from above 0",
    ]


def test_duplicates_of_id_images_need_no_training_images(params: Params) -> None:
    alone = replace(params.overlap, against_training=False, leave_out="id")
    assert consistency.contradictions(replace(params, overlap=alone)) == []
