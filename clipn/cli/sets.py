"""The commands `clipn sets …`: published sets and benchmarks on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table

from clipn.data.sets import archives, benchmarks
from clipn.data.sets.archives import State
from clipn.data.sets.registry import registered, registry
from clipn.errors import ClipnError
from clipn.utils.progress import Progress, silent

LOG_WIDTH = 160
"""Columns of a table that goes to a file, where there is no terminal that could be narrower."""
WORDS: dict[State, str] = {
    "checked": "[green]here, checked[/]",
    "here": "[green]here[/]",
    "fetchable": "not fetched",
    "missing": "[red]not here[/]",
}


def add(commands: Any) -> None:
    """Add `sets` to the subcommands of `clipn`."""
    sets = commands.add_parser("sets", help="list, fetch and check published evaluation sets and benchmarks")
    actions = sets.add_subparsers(required=True, metavar="ACTION")

    show = actions.add_parser("list", help="say which sets there are, on what terms, and what of them is here")
    show.add_argument("names", nargs="*", help="default: all")
    _format(show)
    show.set_defaults(run=_list)

    fetch = actions.add_parser("fetch", help="fetch sets into data/archives; a fetch that broke off is continued")
    check = actions.add_parser("check", help="compare checksums and counts of fetched sets with the registry")
    for command, run in ((fetch, _fetch), (check, _check)):
        command.add_argument("names", nargs="*")
        command.add_argument("--benchmark", action="append", default=[], help="all sets of a benchmark")
        command.set_defaults(run=run)
    check.add_argument("--decode", action="store_true", help="decode every image too, which takes a while")
    _format(check)

    available = actions.add_parser("available", help="say what each benchmark consists of and which sets are missing")
    available.add_argument("names", nargs="*", help="default: all benchmarks")
    _format(available)
    available.set_defaults(run=_available)

    benchmark = actions.add_parser("benchmark", help="print a benchmark as a file for conf/benchmark")
    benchmark.add_argument("name")
    benchmark.set_defaults(run=lambda options: print(benchmarks.configuration(options.name), end=""))
    for command in (show, fetch, check, available):
        command.add_argument("--archives", type=Path, default=archives.CACHE, help="default: %(default)s")


def _format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=["table", "json"], default="table", help="default: %(default)s")


def _list(options: argparse.Namespace) -> None:
    names = options.names or list(registry())
    rows = []
    for name in names:
        entry = registered(name)
        rows.append({"name": name, **asdict(entry), "bytes": entry.bytes})
        rows[-1]["state"] = archives.state(name, options.archives)
    if options.format == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(
        Column("set", no_wrap=True),
        "title",
        Column("images", justify="right", no_wrap=True),
        Column("classes", justify="right", no_wrap=True),
        Column("size", justify="right", no_wrap=True),
        "licence",
        Column("here?", no_wrap=True),
    )
    for row in rows:
        table.add_row(
            row["name"],
            row["title"],
            f"{row['images']:,}",
            str(row["classes"] or "–"),
            _size(row["bytes"]) if row["files"] else "",
            row["licence"],
            WORDS[row["state"]] + (f"\n{row['environment']}" if row["state"] == "missing" else ""),
        )
    _console().print(table)
    print(
        f"{len(rows)} sets. Addresses and checksums of sets that have to be fetched were not tried by us; "
        "--format json says where each fact comes from."
    )


def _fetch(options: argparse.Namespace) -> None:
    def run(name: str) -> str:
        entry = registered(name)
        if not entry.files:
            paths = archives.paths(entry, options.archives)
            return f"{name}: {f'is at {paths[0]}' if paths else 'ships with a package'}; nothing to fetch"
        with _progress(name, sized=True) as progress:
            paths = archives.fetch(entry, options.archives, progress)
        return f"{name}: {', '.join(map(str, paths))}, {_size(sum(path.stat().st_size for path in paths))}"

    _each(options, run)


def _check(options: argparse.Namespace) -> None:
    results = {}

    def run(name: str) -> str:
        with _progress(name, sized=False) if options.decode else _quiet() as progress:
            found = archives.check(name, options.archives, decode=options.decode, progress=progress)
        results[name] = asdict(found)
        counts = f"{found.images:,} images, {found.classes} classes"
        if found.problems:
            shown = "; ".join(found.problems[:3]) + (" …" if len(found.problems) > 3 else "")
            raise ClipnError(f"{counts}; {len(found.problems)} problem(s): {shown}")
        return f"{name}: {counts}, as registered"

    try:
        _each(options, run, show=options.format == "table")
    finally:
        if options.format == "json":
            print(json.dumps(results, indent=2, ensure_ascii=False))


def _each(options: argparse.Namespace, run: Callable[[str], str], *, show: bool = True) -> None:
    """Run something for each set named; one that fails does not stop the others, but fails the command.

    Raises:
        ClipnError: with all failures.
    """
    names = [*options.names, *(name for key in options.benchmark for name in benchmarks.benchmark(key).sets)]
    if not names:
        raise ClipnError("name a set ('clipn sets list' shows them) or give --benchmark NAME")
    for name in names:
        registered(name)  # a misspelt name is found before hours of fetching
    failures = []
    for name in dict.fromkeys(names):
        try:
            line = run(name)
        except ClipnError as error:
            failures.append(f"{name}: {error}")
        else:
            if show:
                print(line)
    if failures:
        raise ClipnError("\n".join(failures))


def _available(options: argparse.Namespace) -> None:
    names = options.names or list(benchmarks.benchmarks())
    states = {
        name: {found: archives.state(found, options.archives) for found in benchmarks.benchmark(name).sets}
        for name in names
    }
    if options.format == "json":
        rows = [{"name": name, **asdict(benchmarks.benchmark(name)), "states": states[name]} for name in names]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(Column("benchmark", no_wrap=True), "ID", "OOD", "missing")
    for name in names:
        entry = benchmarks.benchmark(name)
        absent = [found for found, state in states[name].items() if state in ("fetchable", "missing")]
        ood = [found + _id_content(entry.id, found) for found in entry.ood]
        table.add_row(name, entry.id, ", ".join(ood), ", ".join(absent) or "[green]nothing[/]")
    _console().print(table)
    todo = {found: state for found_states in states.values() for found, state in found_states.items()}
    by_hand: dict[str | None, str] = {}
    for found, state in todo.items():
        if state == "missing":
            by_hand.setdefault(registered(found).environment, found)
    for variable, found in by_hand.items():
        print(f"{variable} has to name a folder: {registered(found).notes}")
    if "fetchable" in todo.values():
        print("What is not fetched yet is fetched by its stage, or by 'clipn sets fetch --benchmark NAME'.")
    for name in names:
        if options.names and benchmarks.benchmark(name).notes:
            print(f"{name}: {benchmarks.benchmark(name).notes}")


def _id_content(id_set: str, ood_set: str) -> str:
    share = registered(ood_set).id_content if id_set == "imagenet" else 0
    return f" ({share:.0%} ID)" if share else ""


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


@contextmanager
def _quiet() -> Iterator[Progress]:
    yield silent


@contextmanager
def _progress(what: str, *, sized: bool) -> Iterator[Progress]:
    """A bar on the terminal; nothing where the output is a file."""
    count = DownloadColumn() if sized else MofNCompleteColumn()
    columns: Sequence[Any] = (TextColumn(what), BarColumn(), count, TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _size(count: int | None) -> str:
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
