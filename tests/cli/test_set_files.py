"""Which sets `clipn sets fetch` and `check` work on; what they do with each is tested in test_sets.py."""

from __future__ import annotations

import pytest

from clipn.cli.set_files import selected
from clipn.data.sets import benchmarks
from clipn.errors import ClipnError


def test_sets_are_selected_once_by_name_and_by_benchmark() -> None:
    of_benchmark = list(benchmarks.benchmark("cifar10").sets)
    assert selected(["digits", "digits"], []) == ["digits"]
    assert selected(["digits", of_benchmark[1]], ["cifar10"])[:2] == ["digits", of_benchmark[1]]
    assert set(selected(["digits"], ["cifar10", "cifar10"])) == {"digits", *of_benchmark}
    with pytest.raises(ClipnError, match="name a set"):
        selected([], [])
    with pytest.raises(ClipnError, match="no registered set 'mnist'"):
        selected(["digits", "mnist"], [])
