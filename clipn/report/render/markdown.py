"""The report as Markdown: text and tables, without pictures."""

from __future__ import annotations

from collections.abc import Sequence

from clipn.report.render.document import Cell, Grid, Number, Section, Text


def render(title: str, sections: Sequence[Section], introduction: Sequence[str] = ()) -> str:
    """Return the content of `reports/results.md`.

    Args:
        title: heading.
        sections: what it shows, one beneath another.
        introduction: paragraphs above all sections.
    """
    parts = [f"# {_escape(title)}", *map(_escape, introduction)]
    for section in sections:
        if section.page_only:
            continue
        parts.append(f"## {_escape(section.title)}")
        for block in section.blocks:
            if isinstance(block, Text) and not block.page_only:
                parts.append(_text(block))
            elif isinstance(block, Grid):
                parts.append(table(block))
    return "\n\n".join(parts) + "\n"


def table(grid: Grid) -> str:
    """Return a table in GitHub's Markdown; the best of a column is bold, that of a heading's rows italic."""
    noted = bool(grid.note_column)
    header = [c.name if not c.note else f"{c.name} ({c.note})" for c in grid.columns]
    rules = ["---", *("---" if c.words else "---:" for c in grid.columns[1:])]
    if noted:
        header.insert(1, grid.note_column)
        rules.insert(1, "---")
    lines = [_line(map(_escape, header)), _line(rules)]
    for row in grid.rows:
        if row.cells:
            cells = [_escape(row.name), *([_escape(row.note)] if noted else []), *map(_cell, row.cells)]
        else:
            cells = [f"**{_escape(row.name)}**", *([""] * (len(header) - 1))]
        lines.append(_line(cells))
    return "\n".join(lines)


def _text(text: Text) -> str:
    form = {"heading": "### {}", "warning": "**{}**"}.get(text.role, "{}")
    return form.format(_escape(text.text))


def _cell(cell: Cell) -> str:
    return _escape(cell) if isinstance(cell, str) else " / ".join(map(_number, cell))


def _number(number: Number) -> str:
    form = {"best": "**{}**", "group": "*{}*"}.get(number.mark, "{}")
    return form.format(_escape(number.text)) + (f" [{_escape(number.note)}]" if number.note else "")


def _line(cells: Sequence[str] | map[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    """Return text that is not read as Markdown's tables or as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
