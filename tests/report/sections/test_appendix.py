from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipn.report.inputs.samples import Sample
from clipn.report.inputs.stages import Stage
from clipn.report.inputs.training import LOSSES, Curve
from clipn.report.render import plots
from clipn.report.render.document import Gallery, Grid, Section, Text
from clipn.report.sections import appendix
from clipn.report.sections.benchmarks import Benchmarks
from tests.report import made_up
from tests.report.made_up import benchmark, method

pytestmark = pytest.mark.usefixtures("undrawn")

FALLING = Curve(np.arange(5.0), 1 / np.arange(1.0, 6.0))
RISING = Curve(np.array([1.0, 3.0]), np.array([0.5, 0.75]))


def alts(section: Section) -> list[str]:
    return [figure.picture.alt for block in section.blocks if isinstance(block, Gallery) for figure in block.figures]


def test_every_set_is_shown_once() -> None:
    small = benchmark(method("MSP", {"dogs": [0.5]}), images={"cats": 4000, "dogs": 3})
    other = benchmark(method("MSP", {"cats": [0.5]}), id="dogs", images={"cats": 4000, "dogs": 3})
    red = Image.new("RGB", (8, 8), (250, 0, 0))
    samples = {"cats": [Sample(red, "tom"), Sample(red, "puss"), Sample(red, "tom")], "dogs": [Sample(red, None)]}
    section = appendix.images([small, other], samples)
    assert section.page_only
    assert alts(section) == ["3 images of the set cats: tom, puss", "1 images of the set dogs"]
    (gallery,) = [block for block in section.blocks if isinstance(block, Gallery)]
    assert [(f.tag, f.caption, f.note) for f in gallery.figures] == [
        ("ID", "cats", "4,000 images"),
        ("OOD", "dogs", "3 images"),
    ]


def test_curves_of_training() -> None:
    runs = {0: {**dict.fromkeys(LOSSES, FALLING), "auroc_atd": RISING}, 1: dict.fromkeys(LOSSES, FALLING)}
    with plots.themed():
        section = appendix.training(runs)
    ends = "seed 0: from 1 to 0.2; seed 1: from 1 to 0.2"
    found = alts(section)
    assert len(found) == 5
    assert found[0] == f"Training loss, yes part, over the steps. {ends}"
    # Only the run that looked at it has a curve, in percent.
    assert found[4] == "AUROC with ATD, %, of the held-out check, over the steps. seed 0: from 50 to 75"
    notes = [block.text for block in section.blocks if isinstance(block, Text)]
    assert notes[0].startswith("Steps: 5 with seed 0, 5 with seed 1. ")


def test_runs_without_a_held_out_check() -> None:
    with plots.themed():
        section = appendix.training({0: dict.fromkeys(LOSSES, FALLING)})
    assert len(alts(section)) == 4
    assert "Held-out check" not in [block.text for block in section.blocks if isinstance(block, Text)]


def test_stages_in_numbers() -> None:
    stages = [
        Stage("download", 4.5, {"in": 1200, "out": 1190, "shards": 3}, {"http_404": 10}),
        Stage("x", 1.25, {}, {}),
    ]
    section = appendix.stages(stages)
    (grid,) = [block for block in section.blocks if isinstance(block, Grid)]
    assert [(row.name, *row.cells) for row in grid.rows] == [
        ("download", "4.5", "1,200", "1,190", "10 http 404", "3 shards"),
        ("x", "1.2", "–", "–", "–", "–"),
    ]


def test_images_training_and_stages_are_read(project: Path) -> None:
    params = made_up.params()
    part = Benchmarks.read(project, params)
    found = appendix.Appendix.read(project, params, [part], part.summaries)
    assert found.samples.keys() == {"cats", "dogs", "cars"}
    assert list(found.training) == [0, 1, 2]
    assert [stage.name for stage in found.stages] == ["captions", "download"]
    with plots.themed():
        assert [section.title for section in found.sections()][::2] == ["Images", "Stages"]
