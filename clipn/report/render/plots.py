"""The figures. Each is drawn on white, so that it reads the same on a light and a dark page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clipn.evaluation.results.benchmark import Bin
from clipn.report.curves import Histogram, thin
from clipn.report.inputs.training import Curve
from clipn.report.summary import AVERAGE, BenchmarkSummary
from clipn.utils.arrays import Floats

INK = "#22262b"
FAINT = "#6a7179"
# The colour-blind-safe palette of Okabe and Ito, and beyond it Tol's muted one.
TRAINED_COLOURS = ("#D55E00", "#0072B2", "#882255", "#117733")
OTHER_COLOURS = ("#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#555555", "#999933", "#332288", "#AA4499")
DASHES = ("--", "-.", ":", (0, (6, 2)), (0, (3, 1, 1, 1, 1, 1)))
# Eight colours, seven markers and five dashes repeat at different lengths, so no two methods look the same.
MARKERS = ("s", "^", "v", "D", "P", "X", "<")
BACKBONE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "8", "d")
SEED_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#555555")
FEW = 30
"""Up to so many points of a training curve are marked each."""


@dataclass(frozen=True)
class Point:
    """A method on one backbone; both in percent."""

    method: str
    backbone: str
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """A straight line fitted to points."""

    slope: float
    intercept: float
    r_squared: float
    """Share of the variance of y that it explains."""

    def at(self, x: Floats) -> Floats:
        return self.intercept + self.slope * x


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in all plots alike."""

    colour: str
    dash: Any
    width: float
    marker: str


def styles(methods: Mapping[str, bool]) -> dict[str, Style]:
    """Return how each method is drawn; `methods` says of each whether it uses the "No" text encoder.

    Thick lines with it, solid for the first four; thin dashed ones without.
    """
    trained = [name for name in methods if methods[name]]
    others = [name for name in methods if not methods[name]]
    return {
        **{n: Style(_at(OTHER_COLOURS, i), _at(DASHES, i), 1.4, _at(MARKERS, i)) for i, n in enumerate(others)},
        **{
            n: Style(_at(TRAINED_COLOURS, i), _at(("-", *DASHES), group), 2.6, _at(("o", *MARKERS), group))
            for i, n in enumerate(trained)
            for group in [i // len(TRAINED_COLOURS)]
        },
    }


def themed() -> AbstractContextManager[None]:
    """matplotlib's defaults with this report's few changes, whatever the user's own settings are."""
    return style.context(
        [
            "default",
            {
                "font.size": 10,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": FAINT,
                "axes.labelcolor": INK,
                "axes.titlesize": 11,
                "axes.titlelocation": "left",
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": "#e4e6e9",
                "grid.linewidth": 0.8,
                "xtick.color": FAINT,
                "ytick.color": FAINT,
                "xtick.labelcolor": INK,
                "ytick.labelcolor": INK,
                "legend.frameon": False,
                "legend.fontsize": 9,
                "text.color": INK,
                "text.parse_math": False,
                "svg.hashsalt": "clipn",
            },
        ]
    )


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG without date or version of the program."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def roc_figure(curves: Mapping[str, tuple[Floats, Floats]], styles: Mapping[str, Style]) -> Figure:
    """Draw method → (false positive rate, true positive rate)."""
    figure = Figure(figsize=(4.5, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#b5bac0", linewidth=1)
    for method, (fpr, tpr) in curves.items():
        axes.plot(
            fpr,
            tpr,
            color=styles[method].colour,
            linestyle=styles[method].dash,
            linewidth=styles[method].width,
            label=method,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    axes.set_xlabel("OOD images taken for ID (false positive rate)")
    axes.set_ylabel("ID images kept (true positive rate)")
    axes.legend(loc="lower right", handlelength=2.6, labelspacing=0.3)
    return figure


def auroc_figure(benchmark: BenchmarkSummary, names: Sequence[str], styles: Mapping[str, Style]) -> Figure:
    """Draw one row per OOD set, one dot per method of `names`; bars are one standard deviation over seeds."""
    methods = [benchmark.by_name[name] for name in names]
    figure = Figure(figsize=(4.5, max(3.4, 0.34 * len(benchmark.columns) + 1.4)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(50, color="#b5bac0", linewidth=1)
    for i, method in enumerate(methods):
        # Dots of one row are shifted a little, so that equal values do not hide each other.
        shift = 0.5 * ((i + 0.5) / len(methods) - 0.5)
        spreads = [method.auroc[column] for column in benchmark.columns]
        axes.errorbar(
            [100 * spread.mean for spread in spreads],
            np.arange(len(spreads)) + shift,
            xerr=[100 * (spread.std or 0) for spread in spreads],
            color=styles[method.name].colour,
            marker=styles[method.name].marker,
            markersize=7 if method.trained else 5.5,
            markerfacecolor=styles[method.name].colour if method.trained else "white",
            linestyle="none",
            label=method.name,
        )
    axes.set_yticks(range(len(benchmark.columns)), benchmark.columns)
    axes.get_yticklabels()[benchmark.columns.index(AVERAGE)].set_fontweight("bold")
    axes.axhline(len(benchmark.ood) - 0.5, color=FAINT, linewidth=0.8)
    axes.set_ylim(len(benchmark.columns) - 0.5, -0.5)
    axes.set_xlabel("AUROC in percent (50: chance)")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.2)
    return figure


def histogram_figure(method: str, histogram: Histogram, colour: str) -> Figure:
    """Draw ID filled in the method's colour, OOD as a dark outline."""
    figure = Figure(figsize=(3.4, 2.1), layout="constrained")
    axes = figure.subplots()
    width = histogram.centres[1] - histogram.centres[0]
    edges = np.append(histogram.centres - width / 2, histogram.centres[-1] + width / 2)
    axes.stairs(histogram.id, edges, fill=True, color=colour, alpha=0.55, label="ID")
    axes.stairs(histogram.ood, edges, color=INK, linewidth=1.3, label="OOD")
    axes.set_title(method)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(edges[0], edges[-1])
    axes.locator_params(axis="x", nbins=5)
    axes.legend(loc="best", handlelength=1.2)
    return figure


def training_figure(title: str, runs: Mapping[int, Curve]) -> Figure:
    """Draw one metric over the steps; seed → its curve."""
    figure = Figure(figsize=(3.4, 2.3), layout="constrained")
    axes = figure.subplots()
    for i, (seed, curve) in enumerate(runs.items()):
        axes.plot(
            thin(curve.steps),
            thin(curve.values),
            color=_at(SEED_COLOURS, i),
            label=f"seed {seed}",
            linestyle=_at(("-", *DASHES), i),
            linewidth=1.4,
            # Few points are dots, joined: a single one would make no line at all.
            marker="o" if len(curve.steps) <= FEW else None,
            markersize=3,
        )
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.legend(loc="best")
    return figure


def reliability_figure(bins: Sequence[Bin]) -> Figure:
    """Draw accuracy over confidence; the area of a dot is the share of the images, the diagonal is perfect."""
    figure = Figure(figsize=(3.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color="#b5bac0", linewidth=1)
    confidence, accuracy = ([100 * getattr(b, of) for b in bins] for of in ("confidence", "accuracy"))
    axes.plot(confidence, accuracy, color=SEED_COLOURS[0], linewidth=1)
    axes.scatter(confidence, accuracy, [12 + 300 * b.share for b in bins], color=SEED_COLOURS[0], alpha=0.7)
    axes.set(xlim=(0, 101), ylim=(0, 101), aspect="equal")
    axes.set_xlabel("class probability, %")
    axes.set_ylabel("right, %")
    return figure


def scatter_figure(points: Sequence[Point], fits: Mapping[str, Line], styles: Mapping[str, Style]) -> Figure:
    """Draw average AUROC over ID accuracy: one colour and one line of `fits` a method, one marker a backbone."""
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(point.method for point in points))
    called = {method: f"{method}, R² {fits[method].r_squared:.2f}" if method in fits else method for method in methods}
    backbones = list(dict.fromkeys(point.backbone for point in points))
    for method in methods:
        if method in fits:
            xs = [point.x for point in points if point.method == method]
            ends = np.array([min(xs), max(xs)])
            axes.plot(ends, fits[method].at(ends), color=styles[method].colour, linewidth=1, alpha=0.6)
    for point in points:
        marker = _at(BACKBONE_MARKERS, backbones.index(point.backbone))
        axes.plot(point.x, point.y, color=styles[point.method].colour, marker=marker, markersize=6.5, linestyle="none")
    axes.set_xlabel("ID accuracy, %")
    axes.set_ylabel("average AUROC, %")
    handles = [
        *(Line2D([], [], color=styles[method].colour, linewidth=3, label=called[method]) for method in methods),
        *(
            Line2D([], [], color=FAINT, marker=_at(BACKBONE_MARKERS, i), linestyle="none", label=backbone)
            for i, backbone in enumerate(backbones)
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1.2)
    return figure


def levels_figure(
    title: str, levels: Sequence[str], lines: Mapping[str, Sequence[tuple[float, float]]], styles: Mapping[str, Style]
) -> Figure:
    """Draw method → (mean, deviation) in percent at each of `levels`, which stand at equal distances."""
    figure = Figure(figsize=(3.6, 2.9), layout="constrained")
    axes = figure.subplots()
    for method, values in lines.items():
        axes.errorbar(
            range(len(levels)),
            [mean for mean, _ in values],
            yerr=[std for _, std in values],
            color=styles[method].colour,
            linestyle=styles[method].dash,
            linewidth=styles[method].width * 0.8,
            marker=styles[method].marker,
            markersize=4.5,
            label=method,
        )
    axes.set_title(title)
    axes.set_xticks(range(len(levels)), levels)
    axes.set_ylabel("average AUROC, %")
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2, fontsize=8)
    return figure


def _at(choices: Sequence[Any], i: int) -> Any:
    return choices[i % len(choices)]
