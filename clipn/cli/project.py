"""`clipn profile` and `clipn check`: the parameters of the project in the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clipn.cli import options
from clipn.cli.options import completed

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "clipn profile quick train.epochs=3",
        "clipn profile cc3m --sets obtainable",
    )
)
def profile(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A file in conf/profile, without .yaml; without a name, the profiles are listed.",
            autocompletion=completed(options.profiles),
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes in Hydra's grammar, such as train.epochs=3 or ~sets.digits.")
    ] = None,
    sets: Annotated[
        Literal["all", "obtainable", "present"],
        typer.Option(
            help="Leave out published sets: those that can only be obtained by hand (obtainable), or all that were "
            "not fetched (present)."
        ),
    ] = "all",
) -> None:
    """Write params.yaml from a profile, or list the profiles."""
    from clipn.data.sets import benchmarks
    from clipn.project import profiles

    if name is None:
        typer.echo("\n".join(profiles.names()))
        return
    changes = list(overrides or ())
    if sets != "all":
        more, left_out = benchmarks.leave_out(profiles.compose(name, changes), sets)
        changes += more
        for set_name, reason in left_out.items():
            typer.echo(f"left out: {set_name} ({reason})")
    profiles.write(name, Path("params.yaml"), changes)
    typer.echo(f"params.yaml now holds the profile {name!r}; 'make repro' runs it")


@app.command(
    epilog=options.examples(
        "clipn check",
        "clipn profile quick && clipn check && make repro",
    )
)
def check() -> None:
    """Check params.yaml and every input that it names."""
    from clipn.project import preflight
    from clipn.project.params import read_params

    preflight.check(read_params())
    typer.echo("params.yaml and every input that it names are fine")
