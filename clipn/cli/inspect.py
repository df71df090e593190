"""`clipn inspect`: what a file of the project holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipn.cli import options

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "clipn inspect data/features/sets/emoticons --verify",
        "clipn inspect data/download/manifest.parquet",
    )
)
def inspect(
    path: Annotated[Path, typer.Argument(help="A Parquet file, or the folder of a feature store.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare a store's shards with its index, which reads them whole.")
    ] = False,
) -> None:
    """Say what a feature store, shard or manifest holds."""
    from clipn.cli.inspection import describe  # imports pyarrow, which the help need not wait for

    for line in describe(path, verify):
        typer.echo(line)
