"""The picture and the tables of `docs/architecture.md` are those of today, and the layout says what is imported."""

from itertools import pairwise
from pathlib import Path

import networkx as nx
import pytest

from tools import draw_architecture as drawing
from tools import rooms

MODULES = {**rooms.modules(rooms.ROOT, "clipn"), **rooms.modules(rooms.ROOT, "flows")}
IMPORTS = rooms.imports(rooms.ROOT, MODULES)
STALE = "write it anew with: python -m tools.draw_architecture"


def test_the_picture_shows_the_imports_of_today() -> None:
    assert drawing.description(IMPORTS) in (rooms.ROOT / drawing.PICTURE).read_text(encoding="utf-8"), STALE


def test_the_tables_are_those_of_today() -> None:
    page = (rooms.ROOT / drawing.PAGE).read_text(encoding="utf-8")
    assert drawing.with_tables(page) == page, STALE


def statement(importer: str, imported: str) -> rooms.Import:
    return rooms.Import(f"clipn.{importer}", f"clipn.{imported}", Path("file.py"), 1, "module")


def test_what_other_arrows_imply_is_not_drawn() -> None:
    chain = [statement("cli", "scores"), statement("scores", "data"), statement("cli", "data.tars")]
    assert set(drawing.drawn(chain, "clipn").edges) == {("cli", "scores"), ("scores", "data")}
    assert drawing.description(chain) == "cli imports scores; scores imports data"


def test_what_all_rooms_may_import_is_not_drawn() -> None:
    graph = drawing.drawn([statement("cli", "errors"), statement("config", "errors")], "clipn")
    assert not graph.edges
    assert not set(rooms.GROUND) & set(graph)


@pytest.fixture
def graph() -> nx.DiGraph:
    """In the order of their names, the arrows from a and b to d and c would cross; a has a long way to e."""
    return nx.DiGraph([("a", "d"), ("b", "c"), ("c", "e"), ("a", "f"), ("d", "f"), ("b", "e")])


def test_arrows_lead_down_and_do_not_cross(graph: nx.DiGraph) -> None:
    top, middle, bottom = drawing.layers(graph)
    assert sorted(top) == ["a", "b"]
    assert sorted(bottom) == ["e", "f"]
    assert set(middle) == {"c", "d", ("a", "f", 1), ("b", "e", 1)}
    if top == ["b", "a"]:
        top, middle, bottom = top[::-1], middle[::-1], bottom[::-1]
    assert {*middle[:2]} == {"d", ("a", "f", 1)}
    assert bottom == ["f", "e"]


def test_rooms_stand_apart_and_in_the_picture(graph: nx.DiGraph) -> None:
    stack = drawing.layers(graph)
    x = drawing.columns(stack, graph)
    half = drawing.BOX[0] / 2
    for layer in stack:
        names = [node for node in layer if isinstance(node, str)]
        assert all(half <= x[name] <= drawing.WIDTH - half for name in names)
        assert all(x[right] - x[left] > drawing.BOX[0] for left, right in pairwise(names))


def test_a_page_gets_its_tables() -> None:
    page = "".join(
        f"{name}\n<!-- rooms of {name}: made by tools.draw_architecture -->\noutdated\n<!-- end -->\n"
        for name in ("clipn", "flows")
    )
    made = drawing.with_tables(page)
    assert "outdated" not in made
    assert "| `hub` | checkpoints from elsewhere | `prompts`, `models` |" in made
    assert made.count("<!-- end -->") == 2
    assert made.endswith("<!-- end -->\n")
