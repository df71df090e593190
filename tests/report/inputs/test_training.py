from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipn.errors import InvalidData, NonFinite
from clipn.report.inputs import training
from clipn.utils.files import write_text


def test_every_metric_has_steps_of_its_own(project: Path) -> None:
    curves = training.read(project, 0)
    assert curves.keys() == {*training.LOSSES, *training.CHECKS}
    np.testing.assert_array_equal(curves["loss_yes"].steps, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(curves["loss_yes"].values, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    np.testing.assert_array_equal(curves["auroc_ctw"].steps, [1, 3])
    np.testing.assert_array_equal(curves["auroc_ctw"].values, [0.5, 0.75])


def test_a_run_without_looks_has_losses_alone(project: Path) -> None:
    for name in training.CHECKS:
        (project / f"reports/training/seed-0/plots/metrics/{name}.tsv").unlink()
    assert training.read(project, 0).keys() == set(training.LOSSES)


def test_a_missing_seed_is_named(project: Path) -> None:
    with pytest.raises(InvalidData, match=r"training lacks seed-7, which train\.seeds asks for"):
        training.read(project, 7)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, InvalidData, "is no record of training"),
        ("", InvalidData, "is no record of training"),
        ("step\tloss\n0\t1\n", InvalidData, "loss_tso"),
        ("step\tloss_tso\n", InvalidData, "holds no training step"),
        ("step\tloss_tso\n0\t1\t2\n", InvalidData, "is no record of training"),
        ("step\tloss_tso\n0\tmuch\n", InvalidData, "much"),
        ("step\tloss_tso\n0\t1\n1\tnan\n", NonFinite, "loss_tso is nan in line 3"),
    ],
)
def test_damage_is_named(project: Path, text: str | None, error: type[Exception], message: str) -> None:
    path = project / "reports/training/seed-0/plots/metrics/loss_tso.tsv"
    path.unlink()
    if text is not None:
        write_text(path, text)
    with pytest.raises(error, match=message) as caught:
        training.read(project, 0)
    assert "loss_tso.tsv" in str(caught.value)
