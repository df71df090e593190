"""Which modules of the project a module reaches by its imports, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = ("clipn", "flows")


def path_of(module: str) -> Path | None:
    """Return the file of a module or package, relative to the root; None if the project has none of this name."""
    base = Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / path).is_file()), None)


@cache
def imports(path: Path) -> frozenset[Path]:
    """Return the files of the project that a file imports, also inside functions, but not for type checkers alone.

    A name that a package hands on counts for the module that defines it. A package that is imported as a whole
    counts with its `__init__.py`; that of a package of which only modules are taken does not.
    """
    return frozenset(_imports(path))


def reached(path: Path, stop: tuple[str, ...] = ()) -> set[Path]:
    """Return all files that a file imports, and those that they import, but not what lies behind `stop`.

    Args:
        path: of the first file, relative to the root; itself is left out.
        stop: beginnings of paths that are neither counted nor followed.
    """
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for other in imports(waiting.pop()):
            if other not in seen and not str(other).startswith(stop):
                seen.add(other)
                waiting.append(other)
    return seen - {path}


def _imports(path: Path) -> Iterator[Path]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for_checkers = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if node in for_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from filter(None, (path_of(alias.name) for alias in node.names if _ours(alias.name)))
        elif isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
            for alias in node.names:
                yield from _home(node.module, alias.name)


def _ours(module: str) -> bool:
    return module.split(".")[0] in PACKAGES


def _home(module: str, name: str) -> Iterator[Path]:
    """The file that `name` of `module` comes from."""
    if path := path_of(f"{module}.{name}"):
        yield path
        return
    path = path_of(module)
    assert path is not None, f"there is no module {module}"
    handed_on = _handed_on(path) if path.name == "__init__.py" else {}
    if name in handed_on:
        yield from _home(handed_on[name], name)
    else:
        yield path


@cache
def _handed_on(path: Path) -> dict[str, str]:
    """Name → module of what a package's `__init__.py` hands on: by import, or on first use by its `_HOMES`."""
    names: dict[str, str] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and _ours(node.module):
            names |= {alias.name: node.module for alias in node.names if not path_of(f"{node.module}.{alias.name}")}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES":
            names |= ast.literal_eval(node.value)
    return names
