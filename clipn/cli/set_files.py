"""What `clipn sets fetch` and `clipn sets check` do with each set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from clipn.cli.progress import bar
from clipn.cli.set_tables import size
from clipn.data.sets import archives, benchmarks
from clipn.data.sets.registry import registered
from clipn.errors import ClipnError
from clipn.utils.progress import Progress, silent


def selected(names: Sequence[str], benchmark_names: Iterable[str]) -> list[str]:
    """Return the sets named and those of the benchmarks named, each once.

    Raises:
        ClipnError: none is named.
        InvalidParams: there is no such set or benchmark.
    """
    sets = [*names, *(name for key in benchmark_names for name in benchmarks.benchmark(key).sets)]
    if not sets:
        raise ClipnError("name a set ('clipn sets list' shows them) or give --benchmark NAME")
    for name in sets:
        registered(name)  # a misspelt name is found before hours of fetching
    return list(dict.fromkeys(sets))


def fetch(names: Iterable[str], folder: Path) -> None:
    """Fetch sets into `folder`, and print where each is.

    Raises:
        ClipnError: with all failures.
    """

    def run(name: str) -> str:
        entry = registered(name)
        if not entry.files:
            paths = archives.paths(entry, folder)
            return f"{name}: {f'is at {paths[0]}' if paths else 'ships with a package'}; nothing to fetch"
        with bar(name, sized=True) as progress:
            paths = archives.fetch(entry, folder, progress)
        return f"{name}: {', '.join(map(str, paths))}, {size(sum(path.stat().st_size for path in paths))}"

    _each(names, run)


def check(names: Iterable[str], folder: Path, *, decode: bool, as_json: bool) -> None:
    """Compare sets in `folder` with the registry, and print the result.

    Args:
        names: of the sets.
        folder: of the fetched files.
        decode: decode every image too.
        as_json: print one JSON object instead of lines.

    Raises:
        ClipnError: with all failures.
    """
    results = {}

    def run(name: str) -> str:
        with bar(name, sized=False) if decode else _no_bar() as progress:
            result = archives.check(name, folder, decode=decode, progress=progress)
        results[name] = asdict(result)
        counts = f"{result.images:,} images, {result.classes} classes"
        if result.problems:
            shown = "; ".join(result.problems[:3]) + (" …" if len(result.problems) > 3 else "")
            raise ClipnError(f"{counts}; {len(result.problems)} problem(s): {shown}")
        return f"{name}: {counts}, as registered"

    try:
        _each(names, run, show=not as_json)
    finally:
        if as_json:
            print(json.dumps(results, indent=2, ensure_ascii=False))


def _each(names: Iterable[str], run: Callable[[str], str], *, show: bool = True) -> None:
    """Run something for each set; one that fails does not stop the others, but fails the command.

    Raises:
        ClipnError: with all failures.
    """
    failures = []
    for name in names:
        try:
            line = run(name)
        except ClipnError as error:
            failures.append(f"{name}: {error}")
        else:
            if show:
                print(line)
    if failures:
        raise ClipnError("\n".join(failures))


@contextmanager
def _no_bar() -> Iterator[Progress]:
    yield silent
