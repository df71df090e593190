"""Bars: what goes to a terminal, and what to a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clipn.cli.progress import TrainingBar, bar
from clipn.training.step_log import Step


def test_there_is_no_bar_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("set", sized=True) as progress:
        progress(1, 2)
        progress(2, 0)
    assert capsys.readouterr() == ("", "")


def test_training_prints_each_check_of_auroc(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step(0, 0, 1.0, 1.0, 1.0, 1.5, 0.1, 0.001, 14.0, 1234.5, None, None)
    with TrainingBar() as show:
        show(step, 2)
        show(replace(step, step=1, auroc_ctw=0.75, auroc_atd=0.5), 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("AUROC") == 1
    assert "step 2: AUROC 0.7500 (CTW), 0.5000 (ATD)" in err
    assert "loss 1.5000, 1,23" in err


def test_training_shows_no_bar_before_the_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingBar():
        pass
    assert capsys.readouterr().err.strip() == ""
