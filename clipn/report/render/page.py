"""`report.html`: one file without any reference outside itself."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from clipn.report.render.document import Section


def render(title: str, sections: Sequence[Section], introduction: Sequence[str] = ()) -> str:
    """Return the page as text.

    Args:
        title: heading and window title.
        sections: what it shows, one beneath another.
        introduction: paragraphs above all sections.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipn.report.render", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(title=title, sections=sections, introduction=introduction)
