"""The pieces that a document is made of: what the renderers tell them apart by, and what they start from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from clipn.report.render import document
from clipn.report.render.document import Column, Facts, Gallery, Grid, Number, Row, Section, Text


def test_every_block_has_a_kind_of_its_own() -> None:
    assert document.Block == Text | Grid | Gallery | Facts
    assert [form.kind for form in (Text, Grid, Gallery, Facts)] == ["text", "grid", "gallery", "facts"]


def test_blocks_start_plain() -> None:
    assert (Text("words").role, Text("words").page_only) == ("plain", False)
    assert (Number("1.00").mark, Number("1.00").note) == ("", "")
    assert not Column("method").words
    assert not Column("method").total
    grid = Grid("label", (Column("method"),), ())
    assert (grid.note_column, grid.folded, grid.folded_repeats) == ("", "", "")
    assert not Section("title", ()).page_only


def test_a_row_without_cells_is_a_heading() -> None:
    assert Row("heading").cells == ()
    assert not Row("heading").minor


def test_pieces_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Text("words").text = "others"  # type: ignore[misc]
