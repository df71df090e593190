from __future__ import annotations

import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData
from clipn.evaluation.results.overlap import Duplicates, OverlapResult, SetOverlap

SETS = BenchmarkParams(id="cats", ood=("dogs",))


def result(**sets: SetOverlap) -> OverlapResult:
    return OverlapResult("small", "cats", ("dogs",), 0.95, sets)


def test_any_duplicate_counts() -> None:
    nothing = SetOverlap(4, training=Duplicates(0, 0))
    assert not result(cats=nothing, dogs=SetOverlap(6)).has_duplicates
    assert result(cats=nothing, dogs=SetOverlap(6, id=Duplicates(0, 1))).has_duplicates
    assert result(cats=nothing, dogs=SetOverlap(6, training=Duplicates(1, 0))).has_duplicates


def test_every_set_of_the_benchmark_is_counted() -> None:
    result(cats=SetOverlap(4), dogs=SetOverlap(6)).require("here", "small", SETS)
    with pytest.raises(InvalidData, match="here counts cats, so it is of other sets than benchmark 'small'"):
        result(cats=SetOverlap(4)).require("here", "small", SETS)
