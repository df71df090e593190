"""The page that `clipn.report.build` writes, read with the standard library's parser."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from clipn import report
from clipn.config import BenchmarkParams, ReportParams
from clipn.io import write_json

BENCHMARKS = {
    "small": BenchmarkParams(id="cats", ood=("dogs", "cars")),
    "tiny": BenchmarkParams(id="cats", ood=("cars",)),
}
Built = tuple[Path, dict[str, Any]]
VOID = {"meta", "link", "img", "br"}


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
    # Per benchmark ROC, AUROC and two histograms; four losses; two AUROC of the held-out check; three sets.
    assert len(found) == 2 * 4 + 4 + 2 + 3
    assert all(image["alt"] and image["width"] and image["height"] for image in found)
    assert any("cars one, cars two" in (image["alt"] or "") for image in found)


def test_page_says_what_was_measured(built: Built) -> None:
    project, _ = built
    text = page(project).text
    for words in (
        "Made up",
        "Results: small",
        "75.00 %",
        "It loses to the best one without, MSP (81.00)",
        "mean ± std",
        "Decisions without a threshold",
        "id-interpolated",
        "Other data: not measured here",
        "95.27?/23.94",
        "http 404",
        "1,190",
    ):
        assert words in text, words


def test_tables_scroll_inside_their_own_box(built: Built) -> None:
    project, _ = built
    tags = page(project).tags
    tables = [i for i, (tag, _) in enumerate(tags) if tag == "table"]
    assert len(tables) == 2 * 2 + 2
    for i in tables:
        assert tags[i - 1][1]["class"] == "scroll"
        assert tags[i - 1][1]["aria-label"]


def test_page_without_stages_and_published_table(project: Path) -> None:
    for path in (project / "reports/stages").iterdir():
        path.unlink()
    report.build(["small"], BENCHMARKS, [0], ReportParams(title="x", published=False), project)
    text = page(project).text
    assert "Stages" not in text
    assert "iNaturalist" not in text
    assert "iNaturalist" not in (project / "reports/results.md").read_text(encoding="utf-8")


def test_curves_of_training(built: Built) -> None:
    project, _ = built
    texts = [image["alt"] or "" for image in page(project).all("img")]
    ends = "; ".join(f"seed {seed}: from 1 to 0.2" for seed in range(3))
    assert f"Training loss, yes part, over the steps. {ends}" in texts
    ends = "; ".join(f"seed {seed}: from 50 to 75" for seed in range(3))
    assert f"AUROC with CTW, %, of the held-out check, over the steps. {ends}" in texts
    assert "Steps: 5 with seed 0, 5 with seed 1" in page(project).text


def test_runs_without_a_held_out_check(project: Path) -> None:
    for path in project.glob("reports/training/seed-*/plots/metrics/auroc_*.tsv"):
        if "seed-1" not in path.parts:
            path.unlink()
    report.build(["tiny"], BENCHMARKS, [0, 1], ReportParams(title="x", published=False), project)
    texts = [image["alt"] or "" for image in page(project).all("img")]
    assert [text for text in texts if "AUROC with ATD" in text] == [
        "AUROC with ATD, %, of the held-out check, over the steps. seed 1: from 50 to 25"
    ]
    report.build(["tiny"], BENCHMARKS, [0], ReportParams(title="x", published=False), project)
    assert "Held-out check" not in page(project).text


def test_foreign_text_is_escaped(project: Path) -> None:
    evil = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    write_json(project / "data/sets/cars/classes.json", [evil, "two"])
    report.build(["tiny"], BENCHMARKS, [0], ReportParams(title=evil, published=True), project)
    found = page(project)
    assert not found.all("script")
    assert all((image["src"] or "").startswith("data:") for image in found.all("img"))
    assert evil in found.text
