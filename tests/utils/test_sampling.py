"""Which rows are taken, and that random numbers belong to a name."""

from __future__ import annotations

import pytest

from clipn.utils.sampling import evenly, shares, stream


def test_evenly_takes_both_ends() -> None:
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(0, 5).tolist() == []


def test_shares_are_equal_as_far_as_the_sets_go() -> None:
    assert shares(9, [10, 10, 10]) == [3, 3, 3]
    assert shares(10, [100, 2, 100]) == [4, 2, 4]
    assert shares(50, [3, 4]) == [3, 4]
    assert sum(shares(64, [500] * 9)) == 64
    assert set(shares(64, [500] * 9)) == {7, 8}


def test_a_stream_belongs_to_its_names() -> None:
    first = stream("noise", 3).normal(size=4)
    assert (stream("noise", 3).normal(size=4) == first).all()
    assert (stream("noise", 4).normal(size=4) != first).all()
    assert stream("ab", "c").random() != stream("a", "bc").random()


def test_evenly_takes_the_first_or_the_middle_of_equal_parts() -> None:
    assert evenly(10, 3, "firsts").tolist() == [0, 3, 6]
    assert evenly(6, 3, "middles").tolist() == [1, 3, 5]
    assert evenly(10, 1, "middles").tolist() == [5]


@pytest.mark.parametrize("take", ["ends", "firsts", "middles"])
def test_evenly_takes_each_row_once_and_all_where_there_are_no_more(take: str) -> None:
    assert evenly(3, 5, take).tolist() == [0, 1, 2]  # type: ignore[arg-type]
    assert evenly(0, 5, take).tolist() == []  # type: ignore[arg-type]
    assert evenly(7, 0, take).tolist() == []  # type: ignore[arg-type]
    for total in range(1, 40):
        for count in range(1, total + 1):
            rows = evenly(total, count, take).tolist()  # type: ignore[arg-type]
            assert rows == sorted(set(rows)), (total, count)
            assert len(rows) == count
            assert 0 <= rows[0] <= rows[-1] < total
