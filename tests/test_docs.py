"""What the docs mention exists: files, modules and their names, pages and headings that they link to."""

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipn import FeatureStore
from tests.scored_project import scored_project

__all__ = ["scored_project"]

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "data/*.md", "models/*.md", "reports/README.md")
    for path in ROOT.glob(pattern)
)

FOLDERS = ("clipn", "flows", "tests", "tools", "benchmarks", "conf", "deploy", "sets", "study")
FILE = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./*-]*\w/?")
"""A path in the project, in a sentence or in a command."""

DOTTED = re.compile(r"(?<![\w./-])(?:clipn|flows|tools|benchmarks)(?:\.[A-Za-z_]\w*)+(?![\w/])")
"""A module, or a name in a module. `benchmarks.NAME` is a section of `params.yaml`, too."""

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")

PLACEHOLDERS = re.compile(r"\b[A-Z]{2,}\b")
"""`conf/profile/NAME.yaml` and `clipn.scores.NAME` mean whatever is put in their place."""

BEFORE = "| before | now |"
"""Heads a table of the changelog whose first column has names that are gone."""


def text(page: Path) -> str:
    content = (ROOT / page).read_text(encoding="utf-8")
    lines, gone = [], False
    for line in content.splitlines():
        gone = BEFORE in line or (gone and line.lstrip().startswith("|"))
        lines.append(line.split("|")[2] if gone else line)
    return "\n".join(lines)


def problems_of_files(content: str) -> Iterator[str]:
    for name in FILE.findall(content):
        if not PLACEHOLDERS.search(name) and "*" not in name and not (ROOT / name).exists():
            yield name


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or a name of a module, or an attribute of such a name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            known = importlib.util.find_spec(".".join(parts[:count])) is not None
        except (ModuleNotFoundError, ValueError):
            continue
        if known:
            value: object = importlib.import_module(".".join(parts[:count]))
            for part in parts[count:]:
                if part not in getattr(value, "__annotations__", ()) and not hasattr(value, part):
                    return False
                value = getattr(value, part, None)
            return True
    return False


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_exist(page: Path) -> None:
    assert not list(problems_of_files(text(page)))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_modules_and_their_names_exist(page: Path) -> None:
    names = {name for name in DOTTED.findall(text(page)) if not PLACEHOLDERS.search(name)}
    assert not sorted(name for name in names if not exists(name))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in LINK.findall(text(page)):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        assert not heading or heading in headings(file), f"{page} links to {target}#{heading}"


def test_the_readme_lists_every_page() -> None:
    readme = text(Path("README.md"))
    assert not [str(page) for page in PAGES if page.parent == Path("docs") and f"({page})" not in readme]


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def test_a_score_on_features(capsys: pytest.CaptureFixture[str]) -> None:
    exec(examples("docs/library.md")[0], {})
    auroc, fpr = map(float, capsys.readouterr().out.split())
    assert auroc > 0.9
    assert fpr < 0.5


def test_a_benchmark_on_feature_stores(scored_project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(examples("docs/library.md")[1], names)
    *methods, skipped = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in methods] == ["MCM", "CLIPN-ATD", "k-NN"]
    assert all(0 <= float(value) <= 1 for line in methods for value in line.split()[1:])
    assert skipped == "{'NegLabel': 'needs a word list (words.path)'}"
    exec(examples("docs/library.md")[2], names)
    store = FeatureStore.open("my_features/weather", names["clip"].fingerprint)
    assert (len(store), store.meta.classes) == (100, ("sun", "cloud"))


# The checks themselves.


def test_a_path_that_is_not_there_is_seen() -> None:
    content = "`clipn/losses.py`, clipn/nothing.py, `conf/profile/NAME.yaml`, a/clipn/b.py; tests/test_docs.py."
    assert list(problems_of_files(content)) == ["clipn/nothing.py"]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("clipn.errors", True),
        ("clipn.errors.ClipnError", True),
        ("clipn.errors.Nothing", False),
        ("clipn.nothing", False),
        ("clipn.nothing.at_all", False),
        ("clipn.paths.METRICS.parent", True),
    ],
)
def test_names_are_looked_up(name: str, there: bool) -> None:
    assert exists(name) == there


def test_anchors_are_those_of_headings(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# A page\n## FPR95, in `three` ways\n```\n# no heading\n```\n")
    assert headings(tmp_path / "page.md") == {"a-page", "fpr95-in-three-ways"}
