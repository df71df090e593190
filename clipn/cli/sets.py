"""The commands `clipn sets …`: published sets and benchmarks on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipn import paths
from clipn.cli import options
from clipn.cli.options import TableFormat, completed

app = typer.Typer()
sets = typer.Typer(help="List, fetch and check published sets and benchmarks.")
app.add_typer(
    sets,
    name="sets",
    epilog=options.examples("clipn sets list", "clipn sets fetch --benchmark cifar10"),
)

SetNames = Annotated[
    list[str] | None, typer.Argument(help="Names of sets.", autocompletion=completed(options.published_sets))
]
BenchmarkOption = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark",
        help="All sets of a benchmark; may be given several times.",
        autocompletion=completed(options.benchmarks),
    ),
]
Archives = Annotated[Path, typer.Option(help="Folder of the fetched files.")]


@sets.command("list", epilog=options.examples("clipn sets list", "clipn sets list cifar10 textures --format json"))
def list_sets(names: SetNames = None, output: TableFormat = "table", archives: Archives = paths.ARCHIVES) -> None:
    """Say which sets there are, and on what terms.

    Also says what of them is on this machine.
    """
    from clipn.cli import set_tables

    set_tables.show_sets(names or [], archives, as_json=output == "json")


@sets.command(epilog=options.examples("clipn sets fetch cifar10 svhn", "clipn sets fetch --benchmark cifar10"))
def fetch(names: SetNames = None, benchmark: BenchmarkOption = None, archives: Archives = paths.ARCHIVES) -> None:
    """Fetch sets; a fetch that broke off is continued."""
    from clipn.cli import set_files

    set_files.fetch(set_files.selected(names or [], benchmark or []), archives)


@sets.command(epilog=options.examples("clipn sets check cifar10", "clipn sets check --benchmark cifar10 --decode"))
def check(
    names: SetNames = None,
    benchmark: BenchmarkOption = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image too, which takes a while.")] = False,
    output: TableFormat = "table",
    archives: Archives = paths.ARCHIVES,
) -> None:
    """Compare fetched sets with the registry.

    Compares checksums, and the counts of images and classes.
    """
    from clipn.cli import set_files

    set_files.check(set_files.selected(names or [], benchmark or []), archives, decode=decode, as_json=output == "json")


@sets.command(epilog=options.examples("clipn sets available", "clipn sets available imagenet --format json"))
def available(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of benchmarks.", autocompletion=completed(options.benchmarks)),
    ] = None,
    output: TableFormat = "table",
    archives: Archives = paths.ARCHIVES,
) -> None:
    """Say of which sets each benchmark consists.

    Also says which of them are not on this machine, and how to get them.
    """
    from clipn.cli import set_tables

    set_tables.show_benchmarks(names or [], archives, as_json=output == "json")


@sets.command(
    epilog=options.examples(
        "clipn sets benchmark imagenet",
        "clipn sets benchmark imagenet > conf/benchmark/imagenet.yaml  # your own version of it",
    )
)
def benchmark(
    name: Annotated[str, typer.Argument(help="Name of a benchmark.", autocompletion=completed(options.benchmarks))],
) -> None:
    """Print what a profile gets that takes in a benchmark."""
    from clipn.data.sets import benchmarks

    typer.echo(benchmarks.configuration(name), nl=False)
