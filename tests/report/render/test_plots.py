from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from clipn.evaluation.results.benchmark import Bin
from clipn.report.curves import Histogram
from clipn.report.inputs.training import Curve
from clipn.report.render import plots
from clipn.report.render.plots import Line, Point
from tests.report.made_up import TRAINED, benchmark, method

SPREAD = {"dogs": [0.6, 0.7], "cars": [0.6, 0.7]}
TWO = benchmark(method("MSP", SPREAD), method("CLIPN-CTW", SPREAD, TRAINED), seeds=(0, 1))
BOTH = {"MSP": False, "CLIPN-CTW": True}
POINTS = [Point("MSP", "red", 60.0, 70.0), Point("MSP", "blue", 70.0, 90.0), Point("CLIPN-CTW", "red", 60.0, 80.0)]
LINE = np.linspace(0, 1, 5)


def test_no_two_methods_look_the_same() -> None:
    many = plots.styles({**{f"m{i}": False for i in range(20)}, **{f"t{i}": True for i in range(10)}})
    assert len(set(many.values())) == 30


def test_the_no_encoder_is_marked_by_solid_thick_lines() -> None:
    styles = plots.styles(BOTH)
    assert styles["CLIPN-CTW"].dash == "-"
    assert styles["MSP"].dash != "-"
    assert styles["CLIPN-CTW"].width > styles["MSP"].width


@pytest.fixture(scope="module")
def figures() -> list[tuple[str, matplotlib.figure.Figure]]:
    styles = plots.styles(BOTH)
    curve = Curve(LINE, LINE)
    with plots.themed():
        return [
            ("roc", plots.roc_figure({"MSP": (LINE, LINE), "CLIPN-CTW": (LINE, LINE)}, styles)),
            ("auroc", plots.auroc_figure(TWO, ["CLIPN-CTW", "MSP"], styles)),
            ("histogram", plots.histogram_figure("MSP", Histogram(LINE, LINE, LINE), "red")),
            ("training", plots.training_figure("total", {0: curve, 1: curve})),
            ("reliability", plots.reliability_figure([Bin(0.5, 0.25, 0.75), Bin(0.75, 1.0, 0.25)])),
            ("scatter", plots.scatter_figure(POINTS, {"MSP": Line(2.0, -50.0, 0.5)}, styles)),
            ("levels", plots.levels_figure("Noise", ["clean", "10"], {"MSP": [(90.0, 0.0), (80.0, 1.0)]}, styles)),
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
            return plots.svg(plots.auroc_figure(TWO, ["MSP"], plots.styles(BOTH)))

    first = draw()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.hashsalt": "other"}):
        assert draw() == first


def test_dollar_signs_are_text_not_formulas() -> None:
    styles = plots.styles({"$x": False, "y$": True})
    with plots.themed():
        assert b"<svg" in plots.svg(plots.roc_figure({"$x": (LINE, LINE), "y$": (LINE, LINE)}, styles))


def test_figures_show_every_method_and_seed(figures: list[tuple[str, matplotlib.figure.Figure]]) -> None:
    of = dict(figures)
    labels = {name: of[name].axes[0].get_legend_handles_labels()[1] for name in of}
    assert labels["roc"] == ["MSP", "CLIPN-CTW"]
    assert labels["auroc"] == ["CLIPN-CTW", "MSP"]
    assert labels["levels"] == ["MSP"]
    assert labels["histogram"] == ["ID", "OOD"]
    assert labels["training"] == ["seed 0", "seed 1"]


def test_single_points_can_be_seen_and_long_curves_are_lines() -> None:
    long = np.arange(5000.0)
    for curve, marker in ((Curve(LINE[:1], LINE[:1]), "o"), (Curve(long, long), "None")):
        (line,) = plots.training_figure("total", {0: curve}).axes[0].get_lines()
        assert line.get_marker() == marker
        assert len(line.get_xdata()) <= 200


def test_dots_of_a_reliability_diagram_stand_where_the_bins_are(
    figures: list[tuple[str, matplotlib.figure.Figure]],
) -> None:
    (dots,) = dict(figures)["reliability"].axes[0].collections
    np.testing.assert_allclose(dots.get_offsets(), [[50, 25], [75, 100]])
    first, second = dots.get_sizes()
    assert first > second


def test_a_scatter_has_a_marker_for_each_backbone_and_a_line_where_one_was_fitted(
    figures: list[tuple[str, matplotlib.figure.Figure]],
) -> None:
    figure = dict(figures)["scatter"]
    line, *dots = figure.axes[0].get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[60, 70], [70, 90]])  # y = 2 x - 50
    assert [dot.get_marker() for dot in dots] == ["o", "s", "o"]
    assert dots[0].get_color() == dots[1].get_color() == line.get_color() != dots[2].get_color()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["MSP, R² 0.50", "CLIPN-CTW", "red", "blue"]
