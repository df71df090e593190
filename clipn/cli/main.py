"""The command `clipn`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import clipn
from clipn.cli import checkpoint, detect, inspect, project, sets, train
from clipn.errors import ClipnError, Interrupted


class Commands(TyperGroup):
    """All commands; a user's mistake ends each with its message and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Interrupted as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(130)
        except ClipnError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted")


# Plain help and plain tracebacks: both are read in logs too, and cost no import of Rich.
app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (detect, train, sets, inspect, project, checkpoint):
    app.add_typer(module.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipn {clipn.__version__}")
        raise typer.Exit


@app.callback()
def clipn_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Teach CLIP to say no."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; return if it succeeds.

    Args:
        arguments: without the program's name; None takes those of the process.

    Raises:
        SystemExit: the command failed. The code is 2 for wrong usage, 130 for an interrupted command and
            the message for another mistake of the user, which ends a process with status 1.
    """
    try:
        app(arguments, prog_name="clipn")
    except SystemExit as end:
        if end.code:
            raise
