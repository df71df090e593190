"""One picture for the README: AUROC of some methods on every OOD set, beneath sample images of the sets."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from clipn.report.inputs.samples import Sample
from clipn.report.render import plots
from clipn.report.summary import BenchmarkSummary, MethodSummary
from clipn.utils.contact_sheet import strip

WIDTH = 1200
MAX_BYTES = 200_000
LEFT, TOP, ROW, BOTTOM, RIGHT = 168, 206, 40, 46, 16  # pixels
NAME = 13
"""Letters of a method's name that fit to the left; longer ones are set smaller."""
TILES = 4
"""Images shown of each set, two in a row."""

# Colour-blind safe, and light in the middle: worse than chance, chance, better.
SCALE = LinearSegmentedColormap.from_list("auroc", ["#c2571a", "#f3d9c6", "#f7f7f7", "#bcd9ec", "#1f6fa8"])


def draw(
    title: str, benchmark: BenchmarkSummary, names: Sequence[str], samples: Mapping[str, Sequence[Sample]]
) -> bytes:
    """Return a PNG, 1200 pixels wide and below `MAX_BYTES`; equal input gives equal bytes.

    Args:
        title: the first line.
        benchmark: what is shown.
        names: of its methods.
        samples: set → its sample images, at least those of `benchmark`.
    """
    methods = [benchmark.by_name[name] for name in names]
    columns = len(benchmark.columns)
    height = TOP + ROW * len(methods) + BOTTOM
    column_width = (WIDTH - LEFT - RIGHT) / columns
    with plots.themed():
        picture = _heat_map(title, benchmark, methods, height, column_width)
    side = int(min(46, (column_width - 10) / 2))
    for i, name in enumerate((benchmark.id, *benchmark.ood)):
        tiles = strip([sample.image for sample in samples[name][:TILES]], columns=2, side=side, gap=2)
        left = 12 if i == 0 else LEFT + (i - 0.5) * column_width - tiles.width / 2
        picture.paste(tiles, (round(left), TOP - 36 - tiles.height))
    return _png(picture)


def _heat_map(
    title: str, benchmark: BenchmarkSummary, methods: Sequence[MethodSummary], height: int, column_width: float
) -> Image.Image:
    """Everything but the sample images, which are pasted afterwards to keep their pixels sharp."""
    rows, columns = len(methods), len(benchmark.columns)
    values = np.array([[100 * method.auroc[c].mean for c in benchmark.columns] for method in methods])
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / height, (WIDTH - LEFT - RIGHT) / WIDTH, ROW * rows / height))
    axes.imshow(values, cmap=SCALE, vmin=0, vmax=100, aspect="auto")
    axes.set_axis_off()
    for edge in np.arange(columns - 1) + 0.5:
        axes.axvline(edge, color="white", linewidth=6 if edge == columns - 1.5 else 2)
    for edge in np.arange(rows - 1) + 0.5:
        axes.axhline(edge, color="white", linewidth=2)
    best = values.round(2).max(axis=0)
    for i, method in enumerate(methods):
        weight = "bold" if method.trained else "normal"
        size = min(11, 11 * NAME / len(method.name))
        axes.text(-0.5 - 12 / column_width, i, method.name, ha="right", va="center", fontsize=size, fontweight=weight)
        for j, value in enumerate(values[i]):
            top = round(value, 2) == best[j]
            axes.text(
                j,
                i,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=11,
                fontweight="bold" if top else "normal",
                color="white" if abs(value - 50) > 42 else plots.INK,
            )
    narrow = column_width < 80
    for j, name in enumerate(benchmark.columns):
        axes.text(
            j,
            -0.5 - 10 / ROW,
            name,
            ha="left" if narrow else "center",
            va="bottom",
            fontsize=9 if narrow else 10,
            rotation=25 if narrow else 0,
        )

    def write(x: float, y: float, text: str, size: int, weight: str = "normal", colour: str = plots.INK) -> None:
        figure.text(x / WIDTH, 1 - y / height, text, fontsize=size, fontweight=weight, color=colour, va="center")

    write(12, 24, title, 14, "bold")
    n = len(benchmark.seeds)
    write(
        12,
        50,
        f"AUROC in percent, mean over {n} seed{'s' if n > 1 else ''}. 50 is chance. ID: {benchmark.id}; "
        "columns: OOD sets.",
        10,
        colour=plots.FAINT,
    )
    write(12, TOP - 19, f"ID: {benchmark.id}", 10)
    write(
        12,
        height - 20,
        'Bold numbers: best of those shown. Bold names: methods with the trained "No" text encoder.',
        9,
        colour=plots.FAINT,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return Image.open(buffer).convert("RGB")


def _png(picture: Image.Image) -> bytes:
    """Return the picture with fewer colours until it is small enough; photographs need that, drawings do not."""
    for colours in (256, 128, 64, 32, 16):
        buffer = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        if buffer.tell() < MAX_BYTES:
            break
    return buffer.getvalue()
