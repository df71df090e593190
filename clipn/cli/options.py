"""Parts of options and help texts that several commands share.

Names that the library knows (scores, sets, …) are completed in the shell and checked when a command runs.
They are looked up only then: the modules that know them import NumPy and SciPy, and `--help` need not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import typer

from clipn import paths
from clipn.errors import ClipnError

Names = Callable[[], Iterable[str]]

TableFormat = Annotated[Literal["table", "json"], typer.Option("--format", help="How to print the result.")]


def examples(*commands: str) -> str:
    """Return the end of a help text, with one example a line.

    The backspace tells the help formatter to keep the line breaks.
    """
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def completed(names: Names) -> Callable[[str], list[str]]:
    """Return a function that completes the beginning of one of `names`."""

    def complete(incomplete: str) -> list[str]:
        try:
            return [name for name in names() if name.startswith(incomplete)]
        except ClipnError:
            return []  # outside of a project there are no profiles, for example

    return complete


def one_of(names: Names) -> Callable[[typer.Context, str], str]:
    """Return a callback that refuses a value which is none of `names`, as a usage error."""

    def check(ctx: typer.Context, value: str) -> str:
        if ctx.resilient_parsing:  # the shell asks for completions
            return value
        choices = tuple(names())
        if value not in choices:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, choices))}.")
        return value

    return check


def scores() -> Iterable[str]:
    """Return the names of all scores."""
    from clipn.scores import REGISTRY

    return REGISTRY


def template_sets() -> Iterable[str]:
    """Return the names of all sets of templates."""
    from clipn.prompts import templates

    return templates.NAMES


def paired_template_sets() -> Iterable[str]:
    """Return the names of the sets of templates that have negations."""
    from clipn.prompts import templates

    return templates.PAIRED


def published_sets() -> Iterable[str]:
    """Return the names of all sets in the registry."""
    from clipn.data.sets.registry import registry

    return registry()


def benchmarks() -> Iterable[str]:
    """Return the names of all published benchmarks."""
    from clipn.data.sets.benchmarks import benchmarks

    return benchmarks()


def profiles() -> Iterable[str]:
    """Return the names of the profiles of the project in the current folder."""
    from clipn.project import profiles

    return profiles.names()


def encoded_sets() -> Iterable[str]:
    """Return the names of the sets whose features the pipeline made."""
    return sorted(path.name for path in paths.SET_FEATURES.glob("*/"))
