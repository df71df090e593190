"""Git commands, as the flow `retrain` needs them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from clipn.errors import ClipnError
from flows.runtime import children


class GitFailed(ClipnError):
    """A git command failed; the message is its own."""


def git(folder: Path, *words: str, text: str | None = None, settings: Mapping[str, str] | None = None) -> str:
    """Run a git command and return what it prints, without the last line break.

    Args:
        folder: a repository or a folder of its checkout.
        words: the command.
        text: its standard input.
        settings: environment variables.

    Raises:
        GitFailed: it ended with an error.
    """
    quiet = {"GIT_TERMINAL_PROMPT": "0", **(settings or {})}  # nobody is there to type a password
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        input=text or "",
        env=children.environment(folder, quiet),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise GitFailed(done.stderr.strip() or f"git {words[0]} ended with status {done.returncode}")
    return done.stdout.rstrip("\n")


def top(folder: Path) -> Path | None:
    """Return the checkout that `folder` lies in, or the bare repository that it is; None if it is neither."""
    if not folder.is_dir():
        return None
    try:
        if git(folder, "rev-parse", "--is-bare-repository") == "true":
            return Path(git(folder, "rev-parse", "--absolute-git-dir"))
        return Path(git(folder, "rev-parse", "--show-toplevel"))
    except GitFailed:
        return None
