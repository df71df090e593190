"""OOD images that were moved towards ID images: how much of the detection is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from clipn import paths
from clipn.config import BenchmarkParams, Params
from clipn.evaluation.results.attack import AttackedMethod, AttackKind, AttackResult
from clipn.report import merge
from clipn.report.part import Part
from clipn.report.render import pictures
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Number, Row, Section, Text
from clipn.report.render.plots import Style
from clipn.report.summary import Spread, percent, signed

REFERENCES = ("1-NN", "MCM")
"""What the scores with the "No" text encoder are held against."""


@dataclass(frozen=True)
class Attack:
    """Numbers, and a picture of each kind: start, moved, difference and target beneath one another."""

    result: AttackResult
    pictures: Mapping[str, Image.Image]


@dataclass(frozen=True)
class Attacks(Part):
    """The attacked benchmarks."""

    KEY: ClassVar[str] = "attack"
    attacks: list[Attack]

    @classmethod
    def read(cls, root: Path, params: Params) -> Attacks:
        """Read the attack on every benchmark in `attack.benchmarks`."""
        return cls([read(root, name, params.benchmarks[name]) for name in params.attack.benchmarks])

    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out one section; none without attacks."""
        return [section(self.attacks)] if self.attacks else []

    def metrics(self) -> dict[str, Any]:
        """Return benchmark → kind → method → AUROC afterwards."""
        return metrics(self.attacks)

    def benchmarks(self) -> list[str]:
        """Return the names of the attacked benchmarks."""
        return [attack.result.benchmark for attack in self.attacks]

    def stages(self) -> list[str]:
        """Return the names of the stages that attacked them."""
        return [f"attack-{name}" for name in self.benchmarks()]


def read(root: Path, name: str, sets: BenchmarkParams) -> Attack:
    """Read `reports/attack/<name>.json` and the pictures in `data/attack/<name>`.

    Raises:
        MissingInput: a file does not exist.
        InvalidData: a field is missing or out of range, the sets are others, a method has another number of values
            than there are seeds, or a picture is damaged.
        NonFinite: a value is NaN or infinite.
    """
    result = AttackResult.read_of(root / paths.ATTACKS / f"{name}.json", name, sets)
    folder = root / paths.ATTACK / name
    return Attack(result, {kind: pictures.read(folder / f"{kind}.png") for kind, _ in _kinds(result)})


def section(attacks: Sequence[Attack]) -> Section:
    """Lay out a table, a sentence on each kind and the pictures, one benchmark after another."""
    return Section("Images moved towards ID", tuple(block for attack in attacks for block in _blocks(attack)))


def sentences(result: AttackResult) -> list[str]:
    """Return how AUROC changes with the "No" text encoder, and with 1-NN and MCM, which do without it."""
    lines = []
    for name, kind in _kinds(result):
        with_it = [method for method, attacked in _in_order(kind) if attacked.trained]
        without = [method for method in REFERENCES if method in kind.methods]
        parts = [
            f"{called} {' and '.join(f'{signed(_change(kind.methods[m]))} ({m})' for m in shown)}"
            for called, shown in (('with the trained "No" text encoder', with_it), ("without it", without))
            if shown
        ]
        if parts:
            lines.append(f"How {name} changes move AUROC, in points: {'; '.join(parts)}.")
    return lines


def metrics(attacks: Sequence[Attack]) -> dict[str, Any]:
    """Return benchmark → kind → method → AUROC afterwards, mean over seeds, for `dvc metrics`."""
    return {
        attack.result.benchmark: {
            name: {method: {"after": round(Spread(a.after).mean, 6)} for method, a in sorted(kind.methods.items())}
            for name, kind in attack.result.kinds.items()
        }
        for attack in attacks
    }


def _blocks(attack: Attack) -> Iterable[Block]:
    result = attack.result
    yield Text(result.benchmark, "heading")
    for sentence in sentences(result):
        yield Text(sentence, "lead")
    moved = ". ".join(
        f"{name.capitalize()}: cosine to the target {kind.cosine_before:.3f} before and {kind.cosine_after:.3f} after, "
        f"mean change of a pixel {kind.change:.2f} of 255 grey levels"
        for name, kind in _kinds(result)
    )
    yield Text(
        f"{result.images:,} OOD images were changed in {result.steps} steps, each towards the feature of an ID image, "
        "its target, in the same tower that is scored (arXiv 2303.05828). Smooth changes are held to small image "
        f"gradients; patchy ones are not. {moved}. AUROC is that of ID images against the changed ones, in percent, "
        "mean ± standard deviation over seeds. Without targets: the targets are taken out of the ID images that the "
        "method was fitted on.",
        "note",
    )
    yield Grid(
        label=f"AUROC on {result.benchmark} before and after",
        columns=(
            Column("method"),
            Column("before"),
            Column("after"),
            Column("change", "points", total=True),
            Column("after", "without targets"),
        ),
        rows=tuple(_rows(result)),
    )
    sheets = (
        _sheet(result.benchmark, kind, attack.pictures[kind], of_kind.difference_times)
        for kind, of_kind in _kinds(result)
    )
    yield Gallery(tuple(sheets), "sheet")


def _rows(result: AttackResult) -> Iterable[Row]:
    for name, kind in _kinds(result):
        yield Row(f"{name} changes")
        for method, attacked in _in_order(kind):
            without = attacked.after_without_targets
            yield Row(
                method,
                (
                    (Number(percent(Spread(attacked.before))),),
                    (Number(percent(Spread(attacked.after))),),
                    signed(_change(attacked)),
                    (Number(percent(Spread(without))),) if without else "–",
                ),
            )


def _kinds(result: AttackResult) -> list[tuple[str, AttackKind]]:
    return sorted(result.kinds.items(), reverse=True)  # smooth ones first, as the paper has them


def _in_order(kind: AttackKind) -> list[tuple[str, AttackedMethod]]:
    return sorted(kind.methods.items(), key=lambda item: merge.rank(item[0]))


def _change(attacked: AttackedMethod) -> float:
    return 100 * (Spread(attacked.after).mean - Spread(attacked.before).mean)


def _sheet(benchmark: str, kind: str, sheet: Image.Image, times: int) -> Figure:
    alt = f"OOD images of {benchmark}, the same after {kind} changes, the difference, and the ID image moved towards."
    return Figure(pictures.webp(sheet, alt), f"{kind} changes", note=f"start, moved, difference × {times}, target")
