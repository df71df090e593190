"""`clipn import-checkpoint`: a model that the reference implementation trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from clipn import paths
from clipn.cli import options
from clipn.cli.options import completed
from clipn.errors import InvalidParams

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "clipn import-checkpoint CLIPN_ATD_Repeat2_epoch_10.pt reference-2",
        "clipn import-checkpoint handcrafted.pt handcrafted --paired-templates photo --backbone data/backbone",
    )
)
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="PyTorch file or safetensors.")],
    name: Annotated[str, typer.Argument(help="What the model is to be called, as in evaluate.imported.")],
    backbone: Annotated[Path, typer.Option(help="Folder of the CLIP that it was trained with.")] = paths.BACKBONE,
    out: Annotated[Path, typer.Option(help="Folder in which the model's own folder is made.")] = paths.IMPORTED,
    paired_templates: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Sentences of the hand-crafted variant; without it, those of the reference.",
            autocompletion=completed(options.paired_template_sets),
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model of this name.")] = False,
) -> None:
    """Take over a checkpoint of the reference implementation."""
    from clipn.config import types
    from clipn.hub import reference_checkpoint  # imports torch, which the help need not wait for

    if not re.fullmatch(types.NAME, name):
        raise InvalidParams(
            f"{name!r} is no name for a model; letters, digits, - and _ make one, a letter or digit first"
        )
    imported = reference_checkpoint.import_file(file, out / name, backbone, paired_templates, force)
    typer.echo("\n".join(reference_checkpoint.describe(imported)))
    typer.echo(f"wrote     {out / name}")
    typer.echo(f"next      list {name} in evaluate.imported of params.yaml and run 'dvc repro'")
