"""Published benchmarks: which sets stand against each other, and what of it is here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from clipn.data.sets import archives
from clipn.data.sets.archives import State
from clipn.data.sets.registry import FOLDER, registered
from clipn.errors import InvalidParams

Take = Literal["all", "obtainable", "present"]
TAKEN: dict[Take, Collection[State]] = {
    "all": ("checked", "here", "fetchable", "missing"),
    "obtainable": ("checked", "here", "fetchable"),
    "present": ("checked", "here"),
}
"""Which states of a set let it stay in a profile."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Benchmark:
    """One entry of `clipn/data/sets/benchmarks.yaml`."""

    title: str
    id: str
    ood: tuple[str, ...]
    source: str
    fit: str | None = None
    """Training images of the ID classes, for scores that need some."""
    notes: str = ""

    @property
    def sets(self) -> tuple[str, ...]:
        """All of them, the ID set first."""
        return (self.id, *self.ood, *((self.fit,) if self.fit else ()))


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """Return name → entry, in the order of the file."""
    text = resources.files(__package__).joinpath("benchmarks.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Benchmark]).validate_python(yaml.safe_load(text))


def benchmark(name: str) -> Benchmark:
    """Return one entry.

    Raises:
        InvalidParams: there is none of this name.
    """
    if name not in benchmarks():
        raise InvalidParams(f"no benchmark {name!r}; known: {', '.join(benchmarks())}")
    return benchmarks()[name]


def configuration(name: str) -> str:
    """Return the Hydra file that brings a benchmark and its sets into a profile, as YAML.

    Raises:
        InvalidParams: as `benchmark`.
    """
    entry = benchmark(name)
    lines = ["# @package _global_", f"# {entry.title[0].upper()}{entry.title[1:]}. From: {entry.source}.", "sets:"]
    for set_name in entry.sets:
        data_set = registered(set_name)
        labelled = "" if data_set.classes else ", labelled: false"
        path = f"{FOLDER}/{set_name}.yaml"
        lines.append(f"  {set_name}: {{reader: {data_set.reader}, path: {path}, registered: {set_name}{labelled}}}")
    lines += ["", "benchmarks:", f"  {name}:", f"    id: {entry.id}", f"    ood: [{', '.join(entry.ood)}]"]
    lines += [f"    fit: {entry.fit}"] if entry.fit else []
    return "\n".join(lines) + "\n"


def leave_out(values: Mapping[str, Any], take: Take, cache: Path = archives.CACHE) -> tuple[list[str], dict[str, str]]:
    """Hydra overrides that take sets out of a profile which are not here.

    A benchmark without its ID set, or without any OOD set, goes too, and with it the sets that nothing else
    mentions. Sets that are not registered stay.

    Args:
        values: the composed profile.
        take: `obtainable` leaves out what can only be obtained by hand; `present` also what was not fetched.
        cache: where fetched archives are.

    Returns:
        the overrides, and for each set and benchmark that goes the reason.

    Raises:
        InvalidParams: no benchmark is left, or an unknown registered set.
    """
    absent = {}
    for name, options in values["sets"].items():
        if options.get("registered"):
            state = archives.state(options["registered"], cache)
            if state not in TAKEN[take]:
                absent[name] = how_to_get(options["registered"], state)
    gone: dict[str, str] = {}
    changed: list[str] = []
    used: set[str] = set()
    for name, entry in values["benchmarks"].items():
        remaining = [other for other in entry["ood"] if other not in absent]
        if entry["id"] in absent:
            gone[name] = absent[entry["id"]]
        elif not remaining:
            gone[name] = absent[entry["ood"][0]]
        else:
            used |= {entry["id"], *remaining, entry.get("fit")}
            changed += [f"benchmarks.{name}.ood=[{','.join(remaining)}]"] if remaining != list(entry["ood"]) else []
            changed += [f"benchmarks.{name}.fit=null"] if entry.get("fit") in absent else []
    changed += [
        f"benchmarks.{name}.validation=null"
        for name, entry in values["benchmarks"].items()
        if name not in gone and entry.get("validation") in gone
    ]
    names: Sequence[str] = values["evaluate"]["benchmarks"]
    if all(name in gone for name in names):
        raise InvalidParams(f"no benchmark is left: {'; '.join(f'{name} needs you to {gone[name]}' for name in names)}")
    for section in ("evaluate", "study", "attack", "robustness"):
        names = values.get(section, {}).get("benchmarks", [])
        kept = [name for name in names if name not in gone]
        changed += [f"{section}.benchmarks=[{','.join(kept)}]"] if kept != list(names) else []
    elsewhere = set(_texts({key: value for key, value in values.items() if key not in ("sets", "benchmarks")}))
    for name in values["sets"]:
        lost = {key for key in gone if name in _sets(values["benchmarks"][key])}
        if lost and name not in used | elsewhere:
            absent.setdefault(name, f"only used in {', '.join(sorted(lost))}")
    overrides = [*(f"~sets.{name}" for name in absent), *(f"~benchmarks.{name}" for name in gone), *changed]
    return overrides, {**absent, **{f"benchmark {name}": reason for name, reason in gone.items()}}


def _sets(entry: Mapping[str, Any]) -> tuple[str | None, ...]:
    return (entry["id"], *entry["ood"], entry.get("fit"))


def _texts(value: Any) -> Iterator[str]:
    """Every text anywhere in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def how_to_get(name: str, state: State) -> str:
    """Return what a user can do about a set that is not here, in a few words."""
    entry = registered(name)
    if state == "missing":
        return f"set {entry.environment} to the folder of {entry.title}"
    return f"run 'clipn sets fetch {name}'"
