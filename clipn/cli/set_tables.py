"""What `clipn sets list` and `clipn sets available` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from clipn.data.sets import archives, benchmarks
from clipn.data.sets.archives import State
from clipn.data.sets.registry import registered, registry

LOG_WIDTH = 160
"""Columns of a table that goes to a file, where there is no terminal that could be narrower."""
WORDS: dict[State, str] = {
    "checked": "[green]here, checked[/]",
    "here": "[green]here[/]",
    "fetchable": "not fetched",
    "missing": "[red]not here[/]",
}


def show_sets(names: Sequence[str], folder: Path, *, as_json: bool) -> None:
    """Print facts of sets and their state.

    Args:
        names: of the sets; none stands for all.
        folder: of the fetched files.
        as_json: print a JSON list instead of a table.

    Raises:
        InvalidParams: there is no such set.
    """
    rows = []
    for name in names or list(registry()):
        entry = registered(name)
        rows.append({"name": name, **asdict(entry), "bytes": entry.bytes})
        rows[-1]["state"] = archives.state(name, folder)
    if as_json:
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
            size(row["bytes"]) if row["files"] else "",
            row["licence"],
            WORDS[row["state"]] + (f"\n{row['environment']}" if row["state"] == "missing" else ""),
        )
    _console().print(table)
    print(
        f"{len(rows)} sets. Addresses and checksums of sets that have to be fetched were not tried by us; "
        "--format json says where each fact comes from."
    )


def show_benchmarks(names: Sequence[str], folder: Path, *, as_json: bool) -> None:
    """Print the sets of benchmarks, and what to do about those that are missing.

    Args:
        names: of the benchmarks; none stands for all, without their notes.
        folder: of the fetched files.
        as_json: print a JSON list instead of a table.

    Raises:
        InvalidParams: there is no such benchmark.
    """
    entries = {name: benchmarks.benchmark(name) for name in names or list(benchmarks.benchmarks())}
    states = {key: {name: archives.state(name, folder) for name in entry.sets} for key, entry in entries.items()}
    if as_json:
        rows = [{"name": key, **asdict(entry), "states": states[key]} for key, entry in entries.items()]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(Column("benchmark", no_wrap=True), "ID", "OOD", "missing")
    for key, entry in entries.items():
        absent = [name for name, state in states[key].items() if state in ("fetchable", "missing")]
        ood = [name + _id_content(entry.id, name) for name in entry.ood]
        table.add_row(key, entry.id, ", ".join(ood), ", ".join(absent) or "[green]nothing[/]")
    _console().print(table)
    for line in _ways_out({name: state for of_sets in states.values() for name, state in of_sets.items()}):
        print(line)
    for key, entry in entries.items():
        if names and entry.notes:
            print(f"{key}: {entry.notes}")


def size(count: int | None) -> str:
    """Return a number of bytes in words."""
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _ways_out(states: dict[str, State]) -> list[str]:
    by_hand: dict[str | None, str] = {}
    for name, state in states.items():
        if state == "missing":
            by_hand.setdefault(registered(name).environment, name)
    lines = [f"{variable} has to name a folder: {registered(name).notes}" for variable, name in by_hand.items()]
    if "fetchable" in states.values():
        lines.append("What is not fetched yet is fetched by its stage, or by 'clipn sets fetch --benchmark NAME'.")
    return lines


def _id_content(id_set: str, ood_set: str) -> str:
    share = registered(ood_set).id_content if id_set == "imagenet" else 0
    return f" ({share:.0%} ID)" if share else ""


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console
