"""OOD images that were moved towards ID images: how much of the detection is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from clipn.config import BenchmarkParams
from clipn.data import images
from clipn.errors import InvalidData, MissingInput
from clipn.report import merge
from clipn.report.inputs.metrics import Count, Fraction, validated
from clipn.report.render import pictures
from clipn.report.render.document import Block, Column, Figure, Gallery, Grid, Number, Row, Section, Text
from clipn.report.summary import Spread, percent, signed

REFERENCES = ("1-NN", "MCM")
"""What the scores with the no encoder are held against."""

Values = Annotated[tuple[Fraction, ...], Field(min_length=1)]
"""AUROC, one per seed for a method with the no encoder, else one."""


@checked_dataclass(frozen=True)
class Attacked:
    """One method."""

    trained: bool
    before: Values
    after: Values
    after_without_targets: Values | None = None
    """With the targets taken out of the ID images that the method was fitted on; of methods with such images."""


@checked_dataclass(frozen=True)
class Kind:
    """One kind of change."""

    weight: Annotated[float, Field(ge=0)]
    """Of the squared image gradients of the change."""
    cosine_before: Annotated[float, Field(ge=-1.001, le=1.001)]
    """Mean cosine of the images' features to their targets'."""
    cosine_after: Annotated[float, Field(ge=-1.001, le=1.001)]
    change: Annotated[float, Field(ge=0)]
    """Mean absolute change of a pixel, in grey levels of 255."""
    difference_times: Annotated[int, Field(ge=1)]
    """By how much the picture shows the change larger than it is."""
    methods: dict[str, Attacked]


@checked_dataclass(frozen=True)
class Found:
    """`reports/attack/BENCHMARK.json`."""

    benchmark: str
    id: str
    ood: tuple[str, ...]
    images: Count
    """That were moved."""
    steps: Count
    seeds: tuple[int, ...]
    kinds: Annotated[dict[Literal["smooth", "patchy"], Kind], Field(min_length=1)]


@dataclass(frozen=True)
class Attack:
    """Numbers, and a picture of each kind: start, moved, difference and target beneath one another."""

    found: Found
    pictures: Mapping[str, Image.Image]


_FOUND = TypeAdapter(Found)


def read(root: Path, name: str, benchmark: BenchmarkParams) -> Attack:
    """Read `reports/attack/<name>.json` and the pictures in `data/attack/<name>`.

    Raises:
        MissingInput: a file does not exist.
        InvalidData: a field is missing or out of range, the sets are others, a method has another number of values
            than there are seeds, or a picture is damaged.
        NonFinite: a value is NaN or infinite.
    """
    path = root / "reports" / "attack" / f"{name}.json"
    found = validated(path, _FOUND, "'attack'")
    if (found.benchmark, found.id, found.ood) != (name, benchmark.id, tuple(benchmark.ood)):
        raise InvalidData(f"{path} is of other sets than benchmark {name!r}; run 'dvc repro'")
    for kind, of_kind in found.kinds.items():
        for method, attacked in of_kind.methods.items():
            expected = len(found.seeds) if attacked.trained else 1
            for numbers in (attacked.before, attacked.after, attacked.after_without_targets or attacked.after):
                if len(numbers) != expected:
                    raise InvalidData(
                        f"{path}: kinds.{kind}.methods.{method} has {len(numbers)} values where {expected} are due; "
                        "run 'dvc repro'"
                    )
    folder = root / "data" / "attack" / name
    return Attack(found, {kind: _picture(folder / f"{kind}.png") for kind, _ in _kinds(found)})


def _picture(path: Path) -> Image.Image:
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro' to make it, or 'dvc pull' to fetch it")
    try:
        return images.decode(path.read_bytes(), images.MAX_PIXELS)
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}; run 'dvc repro'") from error


def section(attacks: Sequence[Attack]) -> Section:
    """A table, a sentence on each kind and the pictures, one benchmark after another."""
    return Section("Images moved towards ID", tuple(block for attack in attacks for block in _blocks(attack)))


def sentences(found: Found) -> list[str]:
    """How AUROC changes with the no encoder, and with 1-NN and MCM, which know nothing of it."""
    said = []
    for name, kind in _kinds(found):
        with_it = [method for method, attacked in _in_order(kind) if attacked.trained]
        without = [method for method in REFERENCES if method in kind.methods]
        parts = [
            f"{called} {' and '.join(f'{signed(_change(kind.methods[m]))} ({m})' for m in shown)}"
            for called, shown in (("with the trained no encoder", with_it), ("without it", without))
            if shown
        ]
        if parts:
            said.append(f"How {name} changes move AUROC, in points: {'; '.join(parts)}.")
    return said


def metrics(attacks: Sequence[Attack]) -> dict[str, Any]:
    """Benchmark → kind → method → AUROC afterwards, mean over seeds, for `dvc metrics`."""
    return {
        attack.found.benchmark: {
            name: {method: {"after": round(Spread(a.after).mean, 6)} for method, a in sorted(kind.methods.items())}
            for name, kind in attack.found.kinds.items()
        }
        for attack in attacks
    }


def _blocks(attack: Attack) -> Iterable[Block]:
    found = attack.found
    yield Text(found.benchmark, "heading")
    for sentence in sentences(found):
        yield Text(sentence, "lead")
    moved = "; ".join(
        f"{name}: cosine to the target {kind.cosine_before:.3f} before and {kind.cosine_after:.3f} after, mean "
        f"change of a pixel {kind.change:.2f} of 255 grey levels"
        for name, kind in _kinds(found)
    )
    yield Text(
        f"{found.images:,} OOD images were each moved towards the feature of an ID image, in {found.steps} steps "
        "through the scored tower itself (arXiv 2303.05828); smooth changes are held to small image gradients, "
        f"patchy ones are not. {moved}. AUROC in percent of ID images against the moved ones, mean ± standard "
        "deviation over seeds. Without targets: the ID images that were moved towards are taken out of those that "
        "the method was fitted on.",
        "note",
    )
    yield Grid(
        label=f"AUROC on {found.benchmark} before and after",
        columns=(
            Column("method"),
            Column("before"),
            Column("after"),
            Column("change", "points", total=True),
            Column("after", "without targets"),
        ),
        rows=tuple(_rows(found)),
    )
    sheets = (
        _sheet(found.benchmark, kind, attack.pictures[kind], of_kind.difference_times)
        for kind, of_kind in _kinds(found)
    )
    yield Gallery(tuple(sheets), "sheet")


def _rows(found: Found) -> Iterable[Row]:
    for name, kind in _kinds(found):
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


def _kinds(found: Found) -> list[tuple[str, Kind]]:
    return sorted(found.kinds.items(), reverse=True)  # smooth ones first, as the paper has them


def _in_order(kind: Kind) -> list[tuple[str, Attacked]]:
    return sorted(kind.methods.items(), key=lambda item: merge.rank(item[0]))


def _change(attacked: Attacked) -> float:
    return 100 * (Spread(attacked.after).mean - Spread(attacked.before).mean)


def _sheet(benchmark: str, kind: str, sheet: Image.Image, times: int) -> Figure:
    alt = f"OOD images of {benchmark}, the same after {kind} changes, the difference, and the ID image moved towards."
    return Figure(pictures.webp(sheet, alt), f"{kind} changes", note=f"start, moved, difference × {times}, target")
