from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipn.evaluation.results.benchmark import Bin, Calibration
from clipn.evaluation.results.overlap import OverlapResult, SetOverlap
from clipn.report.inputs.score_files import Scores
from clipn.report.render import plots
from clipn.report.render.document import Facts, Gallery, Grid, Section, Text
from clipn.report.sections import benchmark
from clipn.report.sections.benchmark import Measured
from clipn.report.sections.overlaps import Overlap
from clipn.report.summary import BenchmarkSummary, ImportedModel
from tests.report import made_up
from tests.report.made_up import TRAINED

pytestmark = pytest.mark.usefixtures("undrawn")

SPREAD = {"dogs": [0.6, 0.8], "cars": [0.9, 0.9]}
SMALL = made_up.benchmark(
    made_up.method("MSP", {"dogs": [0.92], "cars": [0.7]}, fpr95=0.25),
    made_up.method("CLIPN-CTW", SPREAD, TRAINED),
    seeds=(3, 4),
    calibration=Calibration(0.125, 0.625, 0.75, (Bin(0.625, 0.75, 1.0),)),
    skipped={"GL-MCM": "needs patch features"},
)
OVERLAP = Overlap(
    OverlapResult("small", "cats", ("dogs", "cars"), 0.95, dict.fromkeys(("cats", "dogs", "cars"), SetOverlap(3))), {}
)


def scores(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return Scores(
        rng.random(5).astype(np.float32), {name: rng.random(4).astype(np.float32) for name in ("dogs", "cars")}
    )


SCORES = {"MSP": [scores(0)], "CLIPN-CTW": [scores(1), scores(2)]}


def measure(summary: BenchmarkSummary = SMALL, **further: bool) -> Measured:
    return benchmark.measure(summary, SCORES, ["CLIPN-CTW"], OVERLAP, **further)


def section(measured: Measured, *, with_published: bool = False) -> Section:
    with plots.themed():
        return benchmark.section(measured, plots.styles({"CLIPN-CTW": True}), with_published=with_published)


def texts(section: Section, *roles: str) -> list[str]:
    return [block.text for block in section.blocks if isinstance(block, Text) and block.role in roles]


def test_only_some_methods_are_drawn_but_all_compared() -> None:
    measured = measure()
    assert list(measured.drawn.roc) == list(measured.drawn.histograms) == ["CLIPN-CTW"]
    assert measured.comparisons.intervals.keys() == {"MSP", "CLIPN-CTW"}
    assert len(measured.sentences) == 4


def test_all_that_is_shown_of_a_benchmark() -> None:
    found = section(measure())
    assert found.title == "Results: small"
    assert texts(found, "heading") == [
        "Which differences are more than chance",
        "Calibration of the class probability",
        "Curves",
        "Duplicates",
    ]
    labels = [block.label for block in found.blocks if isinstance(block, Grid)]
    assert labels == ["Results of small", "Further measures of small", "MSP minus other methods"]
    captions = [figure.caption for block in found.blocks if isinstance(block, Gallery) for figure in block.figures]
    assert captions == ["Reliability", "ROC, all OOD images together", "AUROC on each OOD set", ""]
    assert "Not measured on this benchmark: GL-MCM needs patch features." in texts(found, "note")
    assert texts(found, "lead") == list(measure().sentences)
    assert any("Histograms are of seed 3." in note for note in texts(found, "note"))


def test_facts_to_see_first() -> None:
    (facts,) = [block for block in section(measure()).blocks if isinstance(block, Facts)]
    assert [(fact.name, fact.value, fact.note) for fact in facts.facts] == [
        ("Zero-shot ID accuracy", "75.00 %", "3 images of cats"),
        ("Best average AUROC", "81.00", "MSP, FPR95 25.00"),
        ('Best with the trained "No" text encoder', "80.00 ± 7.07", "CLIPN-CTW, FPR95 50.00 ± 0.00"),
        ("OOD images", "6", "in 2 sets; 2 training seeds"),
    ]


def test_backbones_without_names_have_no_accuracy_and_no_calibration() -> None:
    found = section(measure(replace(SMALL, id_accuracy=None, calibration=None, skipped={})))
    (facts,) = [block for block in found.blocks if isinstance(block, Facts)]
    assert facts.facts[0].name == "Best average AUROC"
    assert "Calibration of the class probability" not in texts(found, "heading")
    assert not any(note.startswith("Not measured") for note in texts(found, "note"))


def test_settings_are_stated() -> None:
    imported = (ImportedModel("released", 100.0, "photo"),)
    found = section(measure(replace(SMALL, imported=imported, trained_templates="pairs")))
    note = next(note for note in texts(found, "note") if note.startswith("AUROC (higher is better)"))
    assert "Logit scale 21.25, templates symbols (pairs for the models trained here)." in note
    assert "The model released was imported; it is measured with logit scale 100 and templates photo." in note
    assert (
        "FPR95 follows the convention id-interpolated: ID is the positive class; the ROC curve is interpolated" in note
    )


def test_validation_benchmarks_are_called_so() -> None:
    found = section(measure(validates=True))
    assert found.title == "Validation: small"
    assert texts(found, "note")[0].startswith("Combinations of scores are chosen on this benchmark")


def test_what_was_chosen_elsewhere_is_one_more_sentence() -> None:
    measured = measure().validated(replace(SMALL, name="choice"), ("MSP",))
    assert measured.sentences[:-1] == measure().sentences
    assert measured.sentences[-1].startswith("Of 1 combination, MSP has the highest average AUROC on the validation")


@pytest.mark.parametrize("with_published", [True, False])
def test_published_figures_are_shown_beside_measured_ones_where_asked_for(with_published: bool) -> None:
    found = section(measure(replace(SMALL, name="imagenet")), with_published=with_published)
    assert ("Published and measured" in texts(found, "heading")) == with_published
