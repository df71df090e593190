from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from clipn.report import plots
from clipn.report.curves import Histogram
from clipn.report.summary import BenchmarkSummary, MethodSummary, Spread
from clipn.report.training import Curve


def benchmark(methods: Sequence[tuple[str, bool]], ood: tuple[str, ...] = ("dogs", "cars")) -> BenchmarkSummary:
    spread = {name: Spread((0.6, 0.7)) for name in (*ood, "average")}
    return BenchmarkSummary(
        name="small",
        id="cats",
        ood=ood,
        seeds=(0, 1),
        fpr_convention="id-interpolated",
        fpr_key="fpr95_id_interpolated",
        id_accuracy=0.5,
        logit_scale=1.0,
        templates="symbols",
        images=dict.fromkeys(("cats", *ood), 3),
        methods=tuple(MethodSummary(name, trained, spread, spread, None) for name, trained in methods),
    )


TWO = benchmark([("MSP", False), ("CLIPN-CTW", True)])
LINE = np.linspace(0, 1, 5)


def test_no_two_methods_look_the_same() -> None:
    many = plots.looks([benchmark([(f"m{i}", False) for i in range(20)] + [(f"t{i}", True) for i in range(10)])])
    assert len(set(many.values())) == 30


def test_the_no_encoder_is_marked_by_solid_thick_lines() -> None:
    look = plots.looks([TWO])
    assert look["CLIPN-CTW"].dash == "-"
    assert look["MSP"].dash != "-"
    assert look["CLIPN-CTW"].width > look["MSP"].width


def test_a_method_looks_the_same_in_all_benchmarks() -> None:
    assert plots.looks([TWO, TWO]) == plots.looks([TWO])


@pytest.fixture
def figures() -> list[tuple[str, matplotlib.figure.Figure]]:
    look = plots.looks([TWO])
    curve = Curve(LINE, LINE)
    with plots.themed():
        return [
            ("roc", plots.roc_figure({"MSP": (LINE, LINE), "CLIPN-CTW": (LINE, LINE)}, look)),
            ("auroc", plots.auroc_figure(TWO, look)),
            ("histogram", plots.histogram_figure("MSP", Histogram(LINE, LINE, LINE), "red")),
            ("training", plots.training_figure("total", {0: curve, 1: curve})),
        ]


def test_svgs_are_well_formed_and_refer_to_nothing_outside(figures: list[tuple[str, matplotlib.figure.Figure]]) -> None:
    for name, figure in figures:
        with plots.themed():
            root = ElementTree.fromstring(plots.svg(figure))
        targets = [value for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")]
        assert targets, name  # glyphs at least
        assert all(target.startswith("#") for target in targets), name


def test_svgs_are_the_same_every_time_and_whatever_the_users_settings() -> None:
    def draw() -> bytes:
        with plots.themed():
            return plots.svg(plots.auroc_figure(TWO, plots.looks([TWO])))

    first = draw()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.hashsalt": "other"}):
        assert draw() == first


def test_dollar_signs_are_text_not_formulas() -> None:
    look = plots.looks([benchmark([("$x", False), ("y$", True)])])
    with plots.themed():
        assert b"<svg" in plots.svg(plots.roc_figure({"$x": (LINE, LINE), "y$": (LINE, LINE)}, look))


def test_figures_show_every_method_and_seed(figures: list[tuple[str, matplotlib.figure.Figure]]) -> None:
    of = dict(figures)
    labels = {name: of[name].axes[0].get_legend_handles_labels()[1] for name in of}
    assert labels["roc"] == labels["auroc"] == ["MSP", "CLIPN-CTW"]
    assert labels["histogram"] == ["ID", "OOD"]
    assert labels["training"] == ["seed 0", "seed 1"]


def test_single_points_can_be_seen_and_long_curves_are_lines() -> None:
    long = np.arange(5000.0)
    for curve, marker in ((Curve(LINE[:1], LINE[:1]), "o"), (Curve(long, long), "None")):
        (line,) = plots.training_figure("total", {0: curve}).axes[0].get_lines()
        assert line.get_marker() == marker
        assert len(line.get_xdata()) <= 200
