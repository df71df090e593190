"""The page that `clipn.report.build` writes, read with the standard library's parser."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from clipn.report.render.document import Column, Fact, Facts, Figure, Gallery, Grid, Number, Picture, Row, Section, Text
from clipn.report.render.page import render

CELL = (Number("80.00 ± 5.00", "best"), Number("1.00", "group", "noise"))
Built = tuple[Path, dict[str, Any]]
VOID = {"meta", "link", "img", "br", "wbr"}


class Page(HTMLParser):
    """Collects tags, text and the open elements at the end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.style = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += " ".join(data.split()) + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(project: Path) -> Page:
    return Page((project / "reports/report.html").read_text(encoding="utf-8"))


def test_page_refers_to_nothing_outside_itself(built: Built) -> None:
    project, _ = built
    html = (project / "reports/report.html").read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    found = Page(html)
    assert found.open == []
    targets = [v for _, a in found.tags for k, v in a.items() if k in ("src", "href", "srcset", "action", "data")]
    assert len(targets) > 10
    assert all(target is not None and target.startswith("data:") for target in targets)
    assert not {tag for tag, _ in found.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"url\(|@import|@font-face", found.style)
    assert "//" not in re.sub(r'src="data:[^"]*"', "", html)
    for image in found.all("img"):
        kind, _, content = (image["src"] or "").partition(";base64,")
        decoded = base64.b64decode(content, validate=True)
        assert decoded.startswith({"data:image/svg+xml": b"<?xml", "data:image/webp": b"RIFF"}[kind])


def test_every_image_has_a_text_and_a_size(built: Built) -> None:
    project, _ = built
    found = page(project).all("img")
    # Per benchmark reliability, ROC, AUROC and two histograms; pairs of three OOD sets with ID and training images;
    # one scatter plot, two contact sheets, two corruptions; four losses; two AUROC of the held-out check; three sets.
    assert len(found) == 2 * 5 + 3 * 2 + 1 + 2 + 2 + 4 + 2 + 3
    assert all(image["alt"] and image["width"] and image["height"] for image in found)
    assert any("cars one, cars two" in (image["alt"] or "") for image in found)


def test_page_says_what_was_measured(built: Built) -> None:
    project, _ = built
    text = page(project).text
    for words in (
        "Made up",
        "Results: small",
        "75.00 %",
        'The best method with the trained "No" text encoder is CLIPN-CTW (80.00 ± 5.00).',
        "mean ± std",
        'Class names and a trained "No" text encoder',
        "Not measured on this benchmark: 1-NN needs ID images",
        "Decisions without a threshold",
        "the expected calibration error is 12.50 %",
        "None of them is left out of the results.",
        "near of training",
        "dogs above, ID images below",
        "id-interpolated",
        "Other data: not measured here",
        "95.27?/23.94",
        "http 404",
        "1,190",
        "Feature study on small",
        "How smooth changes move AUROC",
        "noise 20, OOD images",
    ):
        assert words in text, words


def test_tables_scroll_inside_their_own_box(built: Built) -> None:
    project, _ = built
    tags = page(project).tags
    tables = [i for i, (tag, _) in enumerate(tags) if tag == "table"]
    # Per benchmark means, repeats, further measures, differences, decisions, duplicates; two of the study, one of the
    # attack, two of robustness; published results and stages.
    assert len(tables) == 2 * 6 + 2 + 1 + 2 + 2
    for i in tables:
        assert tags[i - 1][1]["class"] == "scroll"
        assert tags[i - 1][1]["aria-label"]


def test_repeats_and_long_tables_are_folded(built: Built) -> None:
    project, _ = built
    found = page(project)
    assert len(found.all("details")) == 2 * 3 + 1
    assert len([row for row in found.all("tr") if row.get("class") == "minor"]) == 2 * 3
    # The repeats stand in a table of their own.
    (start, *_) = [i for i, (tag, a) in enumerate(found.tags) if a.get("class") == "minor"]
    before = [tag for tag, _ in found.tags[:start]]
    assert len(before) - before[::-1].index("details") < len(before) - before[::-1].index("table")


def test_foreign_text_is_escaped() -> None:
    evil = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    figure = Figure(Picture("data:image/webp;base64,", evil, 1, 1), evil, evil, evil)
    grid = Grid(evil, (Column(evil, evil), Column(evil)), (Row(evil), Row(evil, (evil,), evil), Row(evil, (CELL,))))
    blocks = (Text(evil), grid, Gallery((figure,), "wide"), Facts((Fact(evil, evil, evil),)))
    found = Page(render(evil, [Section(evil, blocks)]))
    assert found.open == []
    assert not found.all("script")
    assert [image["src"] for image in found.all("img")] == ["data:image/webp;base64,"]
    assert found.text.count(evil) == 18


def test_long_names_break_after_plus_signs() -> None:
    grid = Grid("x", (Column("method"), Column("n")), (Row("ATD+Energy+1-NN", ("1",)),))
    assert "ATD+<wbr>Energy+<wbr>1-NN" in render("x", [Section("x", (grid,))])


def test_marks_of_numbers() -> None:
    grid = Grid("x", (Column("method"), Column("n", total=True)), (Row("MSP", (CELL,), "seed 0"),))
    html = render("x", [Section("x", (grid,))])
    assert '<td class="sum"><span><b>80.00</b><small> ±5.00</small></span>' in html
    assert '<span class="second"><i class="top">1.00</i><small class="within">noise</small></span></td>' in html
