from __future__ import annotations

from dataclasses import replace

from clipn.evaluation.results.attack import AttackResult
from tests.report import made_up

RESULT = AttackResult(**made_up.attack())


def test_trained_methods_have_a_value_for_each_seed() -> None:
    assert RESULT.contradiction() is None
    expected = "kinds.patchy.methods.CLIPN-CTW has 2 values where 3 are due"
    assert replace(RESULT, seeds=(0, 1, 2)).contradiction() == expected


def test_methods_without_id_images_say_nothing_of_targets() -> None:
    methods = RESULT.as_json()["kinds"]["smooth"]["methods"]
    assert methods["1-NN"]["after_without_targets"] == (0.5,)
    assert "after_without_targets" not in methods["MCM"]
