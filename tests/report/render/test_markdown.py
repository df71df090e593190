from __future__ import annotations

from clipn.report.render import markdown
from clipn.report.render.document import Column, Fact, Facts, Figure, Gallery, Grid, Number, Picture, Row, Section, Text

GRID = Grid(
    "made up",
    (Column("method", "AUROC"), Column("dogs", "6"), Column("source", words=True)),
    (
        Row("Class names"),
        Row("MSP", ((Number("92.00", "best"), Number("20.00", "group", "noise")), "a|b"), "seed 0", minor=True),
    ),
    note_column="repeat",
)


def test_tables_hold_all_that_the_page_shows() -> None:
    assert markdown.table(GRID).splitlines() == [
        "| method (AUROC) | repeat | dogs (6) | source |",
        "| --- | --- | ---: | --- |",
        "| **Class names** |  |  |  |",
        "| MSP | seed 0 | **92.00** / *20.00* [noise] | a\\|b |",
    ]


def test_notes_have_a_column_only_where_it_has_a_name() -> None:
    grid = Grid("made up", (Column("set"), Column("images")), (Row("dogs", ("6",)),))
    assert markdown.table(grid) == "| set | images |\n| --- | ---: |\n| dogs | 6 |"


def test_pictures_and_what_is_for_the_page_alone_are_left_out() -> None:
    sections = [
        Section(
            "Results",
            (
                Facts((Fact("a", "b", "c"),)),
                Text("Curves", "heading", page_only=True),
                Gallery((Figure(Picture("data:", "alt", 1, 1)),), "wide"),
                Text("Duplicates", "heading"),
                Text("Careful.", "warning"),
                Text("A sentence."),
            ),
        ),
        Section("Images", (Text("Not here."),), page_only=True),
    ]
    assert markdown.render("Made up", sections) == (
        "# Made up\n\n## Results\n\n### Duplicates\n\n**Careful.**\n\nA sentence.\n"
    )


def test_foreign_text_is_escaped() -> None:
    assert markdown.render("a | b\n<script>", []) == "# a \\| b &lt;script>\n"
