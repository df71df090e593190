"""`report.html`: one file without any reference outside itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from matplotlib.figure import Figure

from clipn.report import plots, table
from clipn.report.curves import Floats, Histogram
from clipn.report.inputs import Stage
from clipn.report.samples import Sample, strip
from clipn.report.summary import AVERAGE, BenchmarkSummary, best, headline, percent
from clipn.report.training import Curve

TILES = 10
"""Images in the strip of a set."""
TILE = 64
"""Side of one in pixels."""

LOSSES = {
    "loss_yes": "yes part",
    "loss_no": "no part",
    "loss_tso": "text semantic-opposite",
    "loss": "total",
}
LOOKS = {"auroc_ctw": "AUROC with CTW, %", "auroc_atd": "AUROC with ATD, %"}


@dataclass(frozen=True)
class Picture:
    """An image with its data inside the address."""

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Plots:
    """The data behind the figures of one benchmark, by method."""

    roc: Mapping[str, tuple[Floats, Floats]]
    histograms: Mapping[str, Histogram]


def render(
    title: str,
    benchmarks: Sequence[BenchmarkSummary],
    data: Mapping[str, Plots],
    samples: Mapping[str, Sequence[Sample]],
    training: Mapping[int, Mapping[str, Curve]],
    stages: Sequence[Stage],
    with_published: bool,
) -> str:
    """The page as text.

    Args:
        title: heading and window title.
        benchmarks: what was measured.
        data: benchmark → data of its figures.
        samples: set → its sample images.
        training: seed → curves of its training run.
        stages: what the stages said about themselves.
        with_published: whether to show the published ImageNet-1K table.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipn", "data"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    look = plots.looks(benchmarks)
    with plots.themed():
        sections = [_section(benchmark, data[benchmark.name], look) for benchmark in benchmarks]
        losses = [_training(name, f"Training loss, {name}", _runs(training, key)) for key, name in LOSSES.items()]
        looks = [
            _training(name, f"{name}, of the held-out check", runs)
            for key, name in LOOKS.items()
            if (runs := _runs(training, key, 100))
        ]
    return environment.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        sets=[_strip(name, kind, number, samples[name]) for name, (kind, number) in _sets(benchmarks).items()],
        losses=losses,
        looks=looks,
        training_steps={seed: int(curves["loss"].steps[-1]) + 1 for seed, curves in training.items()},
        stages=stages,
        published=table.published() if with_published else None,
        mean=table.MEAN,
        imported=table.IMPORTED,
        average=AVERAGE,
    )


def _section(benchmark: BenchmarkSummary, data: Plots, look: Mapping[str, plots.Look]) -> dict[str, object]:
    averages = ", ".join(f"{m.name} {percent(m.auroc[AVERAGE])}" for m in benchmark.methods)
    trained = [method for method in benchmark.own_methods if method.trained]
    return {
        "benchmark": benchmark,
        "headline": headline(benchmark),
        "best": _figures_of(best(benchmark.methods)),
        "best_trained": _figures_of(best(trained)) if trained else None,
        "rows": table.rows(benchmark),
        "decisions": table.decisions(benchmark),
        "imported": table.imported_notes(benchmark),
        "convention": table.CONVENTIONS[benchmark.fpr_convention],
        "roc": _figure(
            plots.roc_figure(data.roc, look),
            f"ROC curves of {len(data.roc)} methods, {benchmark.id} against all OOD images together. "
            f"Average AUROC over the sets, in percent: {averages}.",
        ),
        "auroc": _figure(
            plots.auroc_figure(benchmark, look),
            f"AUROC of each method on each OOD set against {benchmark.id}; the results table holds the numbers.",
        ),
        "histograms": [
            _figure(
                plots.histogram_figure(method, histogram, look[method].colour),
                f"Histogram of the {method} scores of ID and OOD images.",
            )
            for method, histogram in data.histograms.items()
        ],
    }


def _runs(training: Mapping[int, Mapping[str, Curve]], key: str, factor: float = 1) -> dict[int, Curve]:
    """Seed → its curve of one metric, where it has one."""
    return {s: Curve(c[key].steps, factor * c[key].values) for s, c in training.items() if key in c}


def _training(title: str, words: str, runs: Mapping[int, Curve]) -> Picture:
    ends = "; ".join(f"seed {seed}: from {c.values[0]:.3g} to {c.values[-1]:.3g}" for seed, c in runs.items())
    return _figure(plots.training_figure(title, runs), f"{words}, over the steps. {ends}")


def _figures_of(method: table.MethodSummary) -> dict[str, str]:
    return {"name": method.name, "auroc": percent(method.auroc[AVERAGE]), "fpr95": percent(method.fpr95[AVERAGE])}


def _sets(benchmarks: Sequence[BenchmarkSummary]) -> dict[str, tuple[str, int]]:
    """Set → (its role, number of images), each set once."""
    found: dict[str, tuple[str, int]] = {}
    for benchmark in benchmarks:
        found.setdefault(benchmark.id, ("ID", benchmark.images[benchmark.id]))
        for name in benchmark.ood:
            found.setdefault(name, ("OOD", benchmark.images[name]))
    return found


def _strip(name: str, kind: str, number: int, samples: Sequence[Sample]) -> dict[str, object]:
    sheet = strip([sample.image for sample in samples[:TILES]], columns=TILES, side=TILE, gap=4)
    buffer = io.BytesIO()
    sheet.save(buffer, format="WEBP", quality=85, method=6)
    classes = list(dict.fromkeys(sample.name for sample in samples[:TILES] if sample.name))
    alt = f"{len(samples[:TILES])} images of the set {name}" + (f": {', '.join(classes)}" if classes else "")
    picture = Picture(_data_uri("image/webp", buffer.getvalue()), alt, *sheet.size)
    return {"name": name, "kind": kind, "number": number, "picture": picture}


def _figure(figure: Figure, alt: str) -> Picture:
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(_data_uri("image/svg+xml", plots.svg(figure)), alt, width, height)


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
