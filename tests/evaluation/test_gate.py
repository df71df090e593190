"""The gate's arithmetic against known answers, and what is missing, new or no number."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clipn.errors import InvalidData
from clipn.evaluation import gate
from clipn.evaluation.gate import Key, Limits, Row, Verdict

AUROC = Key("b", "CLIPN-ATD", "auroc")
FPR95 = Key("b", "CLIPN-ATD", "fpr95_id_interpolated")


def one(accepted: tuple[float, ...], new: tuple[float, ...], key: Key = AUROC, **limits: float) -> Row:
    (row,) = gate.compare({key: {"near": accepted}}, {key: {"near": new}}, Limits(**limits))
    return row


def content(auroc: float, fpr95: Any = 0.4, ood: tuple[str, ...] = ("near",), method: str = "CLIPN-ATD") -> Any:
    of_set = {"auroc": auroc, "fpr95_id_interpolated": fpr95}
    return {"fpr_convention": "id-interpolated", "methods": {method: {"ood": dict.fromkeys(ood, of_set)}}}


def test_noise_is_student_s_t_times_the_standard_error() -> None:
    # Both sides have variance 1e-4, so s = 0.01; t(0.99, 4) = 3.7469 from any table; √(1/3 + 1/3) = 0.8165.
    noise = gate.noise((0.79, 0.80, 0.81), (0.78, 0.79, 0.80), 0.99)
    assert noise == pytest.approx(3.746947 * 0.01 * math.sqrt(2 / 3), rel=1e-5)


def test_noise_pools_unequal_sides() -> None:
    # Sums of squares 2e-4 and 0, over 3 + 2 - 2 = 3 degrees of freedom; t(0.95, 3) = 2.3534.
    noise = gate.noise((0.79, 0.80, 0.81), (0.9, 0.9), 0.95)
    assert noise == pytest.approx(2.353363 * math.sqrt(2e-4 / 3) * math.sqrt(1 / 3 + 1 / 2), rel=1e-5)


def test_one_seed_on_one_side_takes_the_other_side_s_spread() -> None:
    assert gate.noise((0.79, 0.80, 0.81), (0.7,), 0.99) == pytest.approx(6.964557 * 0.01 * math.sqrt(4 / 3), rel=1e-5)


def test_one_seed_on_both_sides_leaves_the_floor_alone_and_says_so() -> None:
    assert gate.noise((0.8,), (0.7,), 0.99) is None
    row = one((0.8,), (0.796,))
    assert (row.verdict, row.tolerance) == (Verdict.PASSED, 0.005)
    assert "one seed" in row.note
    assert one((0.8,), (0.794,)).verdict is Verdict.WORSE


def test_equal_seeds_have_no_spread_and_get_the_floor() -> None:
    assert one((0.8, 0.8), (0.796, 0.796)).tolerance == 0.005


def test_a_fall_of_exactly_the_tolerance_passes() -> None:
    assert one((0.9,), (0.895,)).verdict is Verdict.PASSED  # 0.9 - 0.895 is more than 0.005 in binary
    assert one((0.9,), (0.8949,)).verdict is Verdict.WORSE


def test_a_wide_spread_excuses_more_but_not_a_seed_that_went_astray() -> None:
    assert one((0.84, 0.85, 0.86), (0.83, 0.84, 0.85)).verdict is Verdict.PASSED
    row = one((0.84, 0.85, 0.86), (0.84, 0.85, 0.55))
    assert (row.verdict, row.tolerance) == (Verdict.WORSE, 0.03)
    assert gate.noise((0.84, 0.85, 0.86), (0.84, 0.85, 0.55), 0.99) > 0.3  # type: ignore[operator]


def test_less_is_better_for_fpr95() -> None:
    assert one((0.4,), (0.5,), FPR95).verdict is Verdict.WORSE
    assert one((0.4,), (0.2,), FPR95).verdict is Verdict.PASSED
    assert one((0.4,), (0.41,), FPR95).tolerance == 0.01


def test_better_always_passes() -> None:
    row = one((0.8, 0.81), (0.9, 0.95))
    assert row.verdict is Verdict.PASSED
    assert row.difference == pytest.approx(0.12)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.sampled_from([AUROC, FPR95]),
)
def test_every_input_gets_a_finite_tolerance_between_floor_and_ceiling(
    accepted: list[float], new: list[float], key: Key
) -> None:
    row = one(tuple(accepted), tuple(new), key)
    floor, ceiling = Limits().bounds(key.metric)
    assert row.tolerance is not None
    assert floor <= row.tolerance <= ceiling
    assert row.verdict in (Verdict.PASSED, Verdict.WORSE)


def test_what_vanished_fails_and_what_is_new_does_not() -> None:
    gone, come = Key("b", "CLIPN-CTW", "auroc"), Key("c", "CLIPN-ATD", "auroc")
    values = {"near": (0.8,)}
    rows = gate.compare({AUROC: values, gone: values}, {AUROC: values, come: values}, Limits())
    assert [(row.key, row.verdict) for row in rows] == [
        (AUROC, Verdict.PASSED),
        (gone, Verdict.MISSING),
        (come, Verdict.NEW),
    ]
    assert [row.fails for row in rows] == [False, True, False]


def test_averages_are_over_the_sets_that_both_have() -> None:
    (row,) = gate.compare({AUROC: {"near": (0.8,)}}, {AUROC: {"near": (0.8,), "nearer": (0.5,)}}, Limits())
    assert (row.verdict, row.new) == (Verdict.PASSED, 0.8)
    assert "without nearer, new" in row.note


def test_a_set_that_vanished_fails() -> None:
    (row,) = gate.compare({AUROC: {"near": (0.8,), "far": (0.9,)}}, {AUROC: {"near": (0.9,)}}, Limits())
    assert (row.verdict, row.note) == (Verdict.MISSING, "without far")


def test_other_numbers_are_listed_when_they_change() -> None:
    same, changed = Key("b", "MCM", "auroc"), Key("b", "MSP", "auroc")
    gone, new = Key("b", "Energy", "auroc"), Key("b", "ViM", "auroc")
    rows = gate.compare_others(
        {AUROC: 0.8, same: 0.5, changed: 0.6, gone: 0.7}, {AUROC: 0.1, same: 0.5, changed: 0.5, new: 0.4}, [AUROC]
    )
    assert {row.key: row.verdict for row in rows} == {
        changed: Verdict.NOT_CHECKED,
        gone: Verdict.MISSING,
        new: Verdict.NEW,
    }


def test_seeds_come_from_the_files_of_the_stage_evaluate() -> None:
    found = gate.seeds_of({"b": {"0": content(0.8, ood=("near", "far")), "1": content(0.9, ood=("near", "far"))}})
    assert found == {
        AUROC: {"near": (0.8, 0.9), "far": (0.8, 0.9)},
        FPR95: {"near": (0.4, 0.4), "far": (0.4, 0.4)},
    }


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (content(0.9, ood=("far",)), r"reports/metrics/b: not every seed of 0, 1 has auroc of CLIPN-ATD on near, far"),
        (content(0.9, method="NegATD"), r"not every seed of 0, 1 has auroc of CLIPN-ATD on near"),
        (content(0.9, ood=()), r"seed-1\.json: CLIPN-ATD has no OOD set"),
        (content(math.nan), r"seed-1\.json: auroc of CLIPN-ATD on near is nan, no fraction"),
        (content(0.9, fpr95=None), r"fpr95_id_interpolated of CLIPN-ATD on near is None, no fraction"),
        (content(80.0), r"is 80\.0, no fraction"),
        ({"methods": {}}, r"seed-1\.json has not the metrics .* KeyError\('fpr_convention'\)"),
        ([], r"seed-1\.json has not the metrics"),
        ({"fpr_convention": "mine", "methods": {}}, r"fpr_convention 'mine' is none of id-interpolated"),
    ],
)
def test_files_that_are_not_what_they_have_to_be(second: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        gate.seeds_of({"b": {"0": content(0.8), "1": second}})


def test_means_leave_out_what_is_no_average_of_a_method() -> None:
    summary = {
        "b": {"id_accuracy": 0.9, "MCM": {"auroc": {"near": 0.5, "average": 0.6}, "aupr": {"average": 0.1}}},
        "study": {"own": {"b": {"MCM": {"auroc": 0.5}}}},
    }
    assert gate.means_of(summary) == {Key("b", "MCM", "auroc"): 0.6}
    with pytest.raises(InvalidData, match="the average b MCM auroc is nan"):
        gate.means_of(json.loads('{"b": {"MCM": {"auroc": {"average": NaN}}}}'))


@pytest.mark.parametrize(
    "values", [{"confidence": 1.0}, {"auroc_floor": -0.1}, {"fpr95_ceiling": math.nan}, {"floor": 0.1}]
)
def test_limits_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Limits(**values)


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"auroc_floor, 0\.05, has to be at most auroc_ceiling, 0\.03"):
        Limits(auroc_floor=0.05)
