"""The command line as a user meets it: help, version, mistakes and defects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import clipn
from clipn.cli import main
from clipn.errors import Interrupted

HEAVY = ("torch", "scipy", "matplotlib", "pandas", "sklearn", "webdataset", "pyarrow", "numpy", "PIL", "pydantic")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(main.app)))


def test_all_commands_are_there() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        *("detect", "train", "inspect", "profile", "check", "import-checkpoint"),
        *("sets", "sets list", "sets fetch", "sets check", "sets available", "sets benchmark"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_a_description_and_two_examples(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main.app, [*path, "--help"], prog_name="clipn")
    assert result.exit_code == 0
    usage, _, rest = result.output.partition("\n\n")
    assert usage.startswith(f"Usage: clipn {' '.join(path)} ")
    assert rest.startswith("  ")
    examples = result.output.partition("Examples:\n")[2].splitlines()
    assert len(examples) == 2
    assert all(f"clipn {' '.join(path)}" in example for example in examples)
    assert "..." not in COMMANDS[path].get_short_help_str(limit=58)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    code = f"""
import sys
sys.argv = ["clipn", {option!r}]
from clipn.cli.main import main
main()
print(*set({HEAVY!r}) & set(sys.modules), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.split() == []
    assert result.stdout


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(main.app, ["--version"])
    assert result.output == f"clipn {clipn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["detekt"], "No such command 'detekt'. Did you mean 'detect'?"),
        (["inspect"], "Missing argument"),
        (["inspect", "a", "b"], "unexpected extra argument"),
        (["sets"], "Missing command"),
        (["profile", "smoke", "--sets", "some"], "'some' is not one of 'all', 'obtainable', 'present'"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str], message: str) -> None:
    result = subprocess.run([sys.executable, "-m", "clipn", *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_users_mistake_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clipn", "inspect", str(tmp_path / "nothing")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"error: {tmp_path / 'nothing'} does not exist\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(Interrupted("stopped after step 3"), 130, "stopped after step 3\n"), (KeyboardInterrupt(), "interrupted", "")],
)
def test_an_interrupt_ends_without_a_traceback(
    error: BaseException,
    code: int | str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("clipn.project.profiles.names", lambda: _raise(error))
    with pytest.raises(SystemExit) as end:
        main.main(["profile"])
    assert end.value.code == code
    assert capsys.readouterr().err == message


def test_a_defect_shows_a_plain_traceback() -> None:
    code = """
from clipn.cli import inspection
from clipn.cli.main import main
inspection.describe = lambda path, verify: 1 / 0
main(["inspect", "a"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")


def _raise(error: BaseException) -> None:
    raise error
