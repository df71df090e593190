"""What the page shows besides results: the images, the training runs, the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipn.config import Params
from clipn.report.inputs.samples import Sample
from clipn.report.inputs.samples import read as read_samples
from clipn.report.inputs.stages import Stage
from clipn.report.inputs.stages import read as read_stages
from clipn.report.inputs.training import Curve
from clipn.report.inputs.training import read as read_training
from clipn.report.part import Part
from clipn.report.render import pictures, plots
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Row, Section, Text
from clipn.report.summary import BenchmarkSummary
from clipn.utils.contact_sheet import strip

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
CHECKS = {"auroc_ctw": "AUROC with CTW, %", "auroc_atd": "AUROC with ATD, %"}


@dataclass(frozen=True)
class Appendix:
    """What stands at the end, whatever was measured."""

    summaries: list[BenchmarkSummary]
    samples: dict[str, list[Sample]]
    """Set → images."""
    training: dict[int, dict[str, Curve]]
    """Seed → curves."""
    stages: list[Stage]

    @classmethod
    def read(cls, root: Path, params: Params, parts: Sequence[Part], summaries: Sequence[BenchmarkSummary]) -> Appendix:
        """Read sample images, training records and the reports of stages.

        Args:
            root: the project's folder.
            params: of the pipeline.
            parts: whose stages are shown.
            summaries: of the benchmarks whose images are shown.

        Raises:
            MissingInput: an evaluation set is missing.
            InvalidData: a file is missing or damaged.
            NonFinite: a file holds NaN or an infinity.
        """
        sets = dict.fromkeys(name for benchmark in summaries for name in (benchmark.id, *benchmark.ood))
        return cls(
            summaries=list(summaries),
            samples={name: read_samples(root, name, TILES) for name in sets},
            training={seed: read_training(root, seed) for seed in params.train.seeds},
            stages=read_stages(root, stage_names(params, parts)),
        )

    def sections(self) -> list[Section]:
        """Lay out images, training and stages, within `plots.themed()`."""
        return [
            images(self.summaries, self.samples),
            *([training(self.training)] if self.training else []),
            *([stages(self.stages)] if self.stages else []),
        ]


def stage_names(params: Params, parts: Sequence[Part]) -> list[str]:
    """Return the names of the stages that led here, in their order.

    Reports of another profile's stages may lie beside theirs.
    """
    used = [params.benchmarks[name] for name in dict.fromkeys(name for part in parts for name in part.benchmarks())]
    fit = [sets.fit for sets in used if sets.fit is not None]
    sets = dict.fromkeys([*(name for sets in used for name in (sets.id, *sets.ood)), *fit])
    return [
        *("captions", "download", "backbone", "features", "words"),
        *(f"{stage}-{name}" for stage in ("sets", "set_features") for name in sets),
        *(stage for part in parts for stage in part.stages()),
    ]


def images(benchmarks: Sequence[BenchmarkSummary], samples: Mapping[str, Sequence[Sample]]) -> Section:
    """Lay out a strip of sample images of every set, each set once."""
    sets: dict[str, tuple[str, int]] = {}
    for benchmark in benchmarks:
        sets.setdefault(benchmark.id, ("ID", benchmark.images[benchmark.id]))
        for name in benchmark.ood:
            sets.setdefault(name, ("OOD", benchmark.images[name]))
    figures = tuple(_strip(name, kind, number, samples[name]) for name, (kind, number) in sets.items())
    note = Text("Spread evenly over each set, not selected by hand.", "note")
    return Section("Images", (note, Gallery(figures, "sheet")), page_only=True)


def training(runs: Mapping[int, Mapping[str, Curve]]) -> Section:
    """Draw the losses, and the held-out check where there was one; seed → curves. Within `plots.themed()`."""
    losses = tuple(_curves(name, f"Training loss, {name}", _of(runs, key)) for key, name in LOSSES.items())
    steps = ", ".join(f"{int(curves['loss'].steps[-1]) + 1:,} with seed {seed}" for seed, curves in runs.items())
    blocks: list[Block] = [
        Gallery(losses, "four"),
        Text(
            f"Steps: {steps}. The total is the sum of the three parts, each times its weight in train. Neighbouring "
            "steps are averaged where there are more than can be drawn.",
            "note",
        ),
    ]
    styles = tuple(
        _curves(name, f"{name}, of the held-out check", checked)
        for key, name in CHECKS.items()
        if (checked := _of(runs, key, 100))
    )
    if styles:
        blocks += [
            Text("Held-out check", "heading"),
            Gallery(styles, "small"),
            Text(
                "Detection of OOD images during training, measured on a part of two sets. Nothing is chosen by it, and "
                "no weight depends on it.",
                "note",
            ),
        ]
    return Section('Training of the "No" text encoder', tuple(blocks), page_only=True)


def stages(reports: Sequence[Stage]) -> Section:
    """Lay out seconds and counts of every stage."""
    columns = (
        *(Column(name) for name in ("stage", "seconds", "in", "out")),
        Column("dropped", words=True),
        Column("besides", words=True),
    )
    rows = []
    for stage in reports:
        numbers = [f"{stage.counts[key]:,}" if key in stage.counts else "–" for key in ("in", "out")]
        besides = {key: n for key, n in stage.counts.items() if key not in ("in", "out")}
        rows.append(Row(stage.name, (f"{stage.seconds:.1f}", *numbers, _listed(stage.dropped), _listed(besides))))
    note = Text("As each stage reported when it last ran.", "note")
    return Section("Stages", (Grid("Stages", columns, tuple(rows)), note), page_only=True)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in counts.items()) or "–"


def _strip(name: str, kind: str, number: int, samples: Sequence[Sample]) -> Figure:
    chosen = samples[:TILES]
    sheet = strip([sample.image for sample in chosen], columns=TILES, side=TILE, gap=4)
    classes = list(dict.fromkeys(sample.name for sample in chosen if sample.name))
    alt = f"{len(chosen)} images of the set {name}" + (f": {', '.join(classes)}" if classes else "")
    return Figure(pictures.webp(sheet, alt), name, tag=kind, note=f"{number:,} images")


def _of(runs: Mapping[int, Mapping[str, Curve]], key: str, factor: float = 1) -> dict[int, Curve]:
    """Return seed → its curve of one metric, where it has one."""
    return {s: Curve(c[key].steps, factor * c[key].values) for s, c in runs.items() if key in c}


def _curves(title: str, words: str, runs: Mapping[int, Curve]) -> Figure:
    ends = "; ".join(f"seed {seed}: from {c.values[0]:.3g} to {c.values[-1]:.3g}" for seed, c in runs.items())
    return Figure(pictures.svg(plots.training_figure(title, runs), f"{words}, over the steps. {ends}"))
