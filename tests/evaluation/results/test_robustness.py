from __future__ import annotations

from dataclasses import replace

from clipn.evaluation.results.robustness import RobustnessResult
from tests.report import made_up

RESULT = RobustnessResult(**made_up.robustness())


def test_levels_stay_whole_numbers_where_they_were() -> None:
    levels = [corrupted["level"] for corrupted in RESULT.as_json()["corruptions"]]
    assert {type(level) for level in levels} == {int, float}


def test_every_method_was_measured_on_clean_images_once_a_seed() -> None:
    assert RESULT.contradiction() is None
    clean = replace(RESULT.clean, methods={"MCM": RESULT.clean.methods["MCM"]})
    assert replace(RESULT, clean=clean).contradiction() == "noise 10 id has CLIPN-CTW, which clean has not"
    assert replace(RESULT, seeds=(0,)).contradiction() == "clean has 2 values of CLIPN-CTW for 1 seeds"
