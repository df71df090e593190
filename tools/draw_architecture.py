"""Draw the rooms of the project from their imports, and write their tables: python -m tools.draw_architecture

Writes `docs/pictures/architecture.svg` and the tables between the marks in `docs/architecture.md`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise, product
from pathlib import Path

import matplotlib as mpl
import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line
from scipy.optimize import isotonic_regression

from tools import rooms

PAGE = Path("docs/architecture.md")
PICTURE = Path("docs/pictures/architecture.svg")

WIDTH = 1000
BOX = (176, 74)
NARROW = 24
GAP = (18, 44)
"""Pixels: of the picture, of a room, of an arrow that passes a layer, and between rooms beside and below each other."""

COLOURS = {"clipn": ("#eef4fb", "#2f6097"), "flows": ("#fdf1e3", "#b0701c"), "ground": ("#eeeeee", "#777777")}
"""Fill and edge."""

Node = str | tuple[str, str, int]
"""A room, or the place in layer N where the arrow from one room to another passes."""


def drawn(statements: Sequence[rooms.Import], package: str) -> nx.DiGraph:
    """Return the imports between rooms, without `GROUND` and without arrows that a way over other rooms implies."""
    graph = nx.DiGraph()
    table = {"clipn": rooms.CLIPN, "flows": rooms.FLOWS}[package]
    graph.add_nodes_from(name for name in table if package != "clipn" or name not in rooms.GROUND)
    graph.add_edges_from(ends for ends in rooms.arrows(statements, package) if ends[0] in graph and ends[1] in graph)
    reduced = nx.DiGraph()
    reduced.add_nodes_from(graph)  # in the order of the table, and edges sorted: the same picture each time
    reduced.add_edges_from(sorted(nx.transitive_reduction(graph).edges))
    return reduced


def layers(graph: nx.DiGraph) -> list[list[Node]]:
    """Return the rooms from the top down, each layer ordered so that few arrows cross.

    A room stands as low as what it imports allows. An arrow over several layers gets a place in each between.
    """
    heights: dict[str, int] = {}
    for name in reversed(list(nx.topological_sort(graph))):
        heights[name] = 1 + max((heights[below] for below in graph.successors(name)), default=-1)
    stack: list[list[Node]] = [[] for _ in range(max(heights.values()) + 1)]
    for name in graph:
        stack[heights[name]].append(name)
    for above, below in graph.edges:
        for height in range(heights[below] + 1, heights[above]):
            stack[height].append((above, below, height))
    links = _links(graph, heights)
    orders = [stack]
    for _ in range(6):
        orders.append(_swept(orders[-1], links))  # by what stands below …
        orders.append(_swept(orders[-1][::-1], links)[::-1])  # … and by what stands above
    return min(orders, key=lambda order: _crossings(order, links))[::-1]


def _links(graph: nx.DiGraph, heights: Mapping[str, int]) -> nx.DiGraph:
    """Return the arrows cut into pieces from one layer to the next."""
    links = nx.DiGraph()
    links.add_nodes_from(graph)
    for above, below in graph.edges:
        nx.add_path(links, way(above, below, heights[above], heights[below]))
    return links


def way(above: str, below: str, top: int, bottom: int) -> list[Node]:
    """Return the places by which an arrow goes."""
    return [above, *((above, below, height) for height in range(top - 1, bottom, -1)), below]


def _swept(stack: Sequence[Sequence[Node]], links: nx.DiGraph) -> list[list[Node]]:
    """Return the layers, each in an order in which fewer arrows cross on the way to the layer before it."""
    swept = [list(stack[0])]
    for layer in stack[1:]:
        order = list(layer)
        for place in list(range(len(order) - 1)) * len(order):  # swap neighbours as long as that helps
            swapped = [*order[:place], order[place + 1], order[place], *order[place + 2 :]]
            if _crossings([swept[-1], swapped], links) < _crossings([swept[-1], order], links):
                order = swapped
        swept.append(order)
    return swept


def _crossings(stack: Sequence[Sequence[Node]], links: nx.DiGraph) -> int:
    count = 0
    for one, other in pairwise(stack):
        places = {node: place for place, node in enumerate(other)}
        ends = [sorted(places[far] for far in nx.all_neighbors(links, node) if far in places) for node in one]
        count += sum(a > b for left, right in combinations(ends, 2) for a, b in product(left, right))
    return count


def columns(stack: Sequence[Sequence[Node]], graph: nx.DiGraph) -> dict[Node, float]:
    """Return the x of each place: near its neighbours in other layers, and apart from those in its own."""
    top = len(stack) - 1
    heights = {node: top - row for row, layer in enumerate(stack) for node in layer if isinstance(node, str)}
    links = _links(graph, heights)
    x: dict[Node, float] = {
        node: WIDTH * (place + 1) / (len(layer) + 1) for layer in stack for place, node in enumerate(layer)
    }
    for _ in range(60):
        for layer in stack:
            wanted = [np.mean([x[node], *(x[other] for other in nx.all_neighbors(links, node))]) for node in layer]
            widths = [BOX[0] if node in graph else NARROW for node in layer]
            apart = np.cumsum([0, *((left + right) / 2 + GAP[0] for left, right in pairwise(widths))])
            left, right = widths[0] / 2 + GAP[0], WIDTH - widths[-1] / 2 - GAP[0] - apart[-1]
            # Least squares under the condition that each place is at least as far right as the one before it.
            placed = isotonic_regression(np.array(wanted) - apart).x.clip(left, max(left, right)) + apart
            x.update(zip(layer, placed.tolist(), strict=True))
    return x


def draw(statements: Sequence[rooms.Import]) -> Figure:
    """Return the picture: flows above, the rooms of the library in layers, and what all of them stand on."""
    graph = drawn(statements, "clipn")
    stack = layers(graph)
    step = BOX[1] + GAP[1]
    top = 118
    bottom = top + len(stack) * step
    height = bottom + BOX[1] + 52
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()

    _flows(axes, 8)
    frame(axes, 8, top - 30, WIDTH - 16, len(stack) * step + 6, ("white", COLOURS["clipn"][1]))
    label(
        axes,
        20,
        top - 15,
        "clipn/   arrows are imports; those that follow from others are left out",
        COLOURS["clipn"][1],
    )
    x = columns(stack, graph)
    y: dict[Node, float] = {node: top + row * step + BOX[1] / 2 for row, layer in enumerate(stack) for node in layer}
    rows = {node: len(stack) - 1 - row for row, layer in enumerate(stack) for node in layer}
    for above, below in graph.edges:
        _arrow(axes, [(x[node], y[node]) for node in way(above, below, rows[above], rows[below])])
    for name in graph:
        _room(axes, x[name], y[name], name, "clipn")
    _ground(axes, bottom + 6)
    return figure


def frame(axes: Axes, x: float, y: float, width: float, height: float, colours: tuple[str, str]) -> None:
    """Draw a rounded rectangle."""
    style = "round,pad=0,rounding_size=8"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colours[0], edgecolor=colours[1], linewidth=1.2)
    )


def label(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Write the title of a frame."""
    axes.text(x, y, text, fontsize=9.5, color=colour, va="center", weight="bold")


def _room(axes: Axes, x: float, y: float, name: str, kind: str, width: float = BOX[0]) -> None:
    frame(axes, x - width / 2, y - BOX[1] / 2, width, BOX[1], COLOURS[kind])
    axes.text(x, y - BOX[1] / 2 + 15, name, fontsize=10.5, weight="bold", ha="center", va="center")
    purpose = "\n".join(textwrap.wrap(rooms.CLIPN[name].purpose.replace("`", ""), int(width / 6.1)))
    axes.text(x, y + 11, purpose, fontsize=7.6, ha="center", va="center", linespacing=1.15)


def _flows(axes: Axes, y: float) -> None:
    frame(axes, 8, y, WIDTH - 16, 68, ("white", COLOURS["flows"][1]))
    label(axes, 20, y + 14, "flows/   may import all of clipn/", COLOURS["flows"][1])
    each = (WIDTH - 32) / len(rooms.FLOWS)
    for place, name in enumerate(rooms.FLOWS):
        frame(axes, 16 + each * place + 4, y + 28, each - 8, 30, COLOURS["flows"])
        axes.text(16 + each * (place + 0.5), y + 43, name, fontsize=8, weight="bold", ha="center", va="center")


def _ground(axes: Axes, y: float) -> None:
    frame(axes, 8, y, WIDTH - 16, BOX[1] + 38, ("white", COLOURS["ground"][1]))
    label(axes, 20, y + 14, "every room of clipn/ may import", COLOURS["ground"][1])
    each = (WIDTH - 32) / len(rooms.GROUND)
    for place, name in enumerate(rooms.GROUND):
        _room(axes, 16 + each * (place + 0.5), y + 28 + BOX[1] / 2, name, "ground", each - 12)


def _arrow(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw an arrow downwards through all points: upright past a layer, bent between two."""
    half = BOX[1] / 2
    (x, y), *others = points
    corners, codes = [(x, y + half)], [Line.MOVETO]
    for right, below in others:
        top, bottom = corners[-1][1], below - half
        corners += [(x, (top + bottom) / 2), (right, (top + bottom) / 2), (right, bottom)]
        codes += [Line.CURVE4] * 3
        if (right, below) != others[-1]:
            corners.append((right, below + half))
            codes.append(Line.LINETO)
        x = right
    axes.add_patch(
        FancyArrowPatch(
            path=Line(corners, codes), arrowstyle="-|>,head_length=5,head_width=2.5", color="#556270", linewidth=1.1
        )
    )


def description(statements: Sequence[rooms.Import]) -> str:
    """Return the arrows in words. The picture carries them, so that a test sees whether it is of today."""
    return "; ".join(sorted(f"{above} imports {below}" for above, below in drawn(statements, "clipn").edges))


def table(package: str) -> str:
    """Return the rooms of a package as a Markdown table, from the top down."""
    names = {"clipn": rooms.CLIPN, "flows": rooms.FLOWS}[package]
    lines = ["| room | what it is for | may import |", "|---|---|---|"]
    for name, room in names.items():
        above = [other for other in room.imports if package != "clipn" or other not in rooms.GROUND]
        everything = len(above) > 10
        words = (
            "everything below" if everything else ", ".join(f"`{other.removesuffix('.__init__')}`" for other in above)
        )
        lines.append(f"| `{name}` | {room.purpose} | {words or '–'} |")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """Return the page with the tables between its marks written anew."""
    for package in ("clipn", "flows"):
        start, end = f"<!-- rooms of {package}: made by tools.draw_architecture -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        page = before + start + table(package) + "\n" + end + rest.partition(end)[2]
    return page


def main() -> None:
    """Write the picture and the tables."""
    names = {**rooms.modules(rooms.ROOT, "clipn"), **rooms.modules(rooms.ROOT, "flows")}
    statements = rooms.imports(rooms.ROOT, names)
    with mpl.rc_context({"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "clipn"}):
        figure = draw(statements)
        figure.savefig(rooms.ROOT / PICTURE, metadata={"Date": None, "Description": description(statements)})
    page = rooms.ROOT / PAGE
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
