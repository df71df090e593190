"""A project of four small stages under the real `.dvc/config`, driven by the real `dvc` and `git`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conftest import ROOT

STAGES = """\
stages:
  numbers:
    cmd: echo numbers >> $RAN && seq ${count} > numbers.txt
    deps: [source.txt]
    params: [count]
    outs: [numbers.txt]
  parts:
    cmd: echo parts >> $RAN && mkdir parts && split -l 10 numbers.txt parts/
    deps: [numbers.txt]
    outs: [parts]
  total:
    cmd: echo total >> $RAN && cat parts/* > total.txt && echo ${scale} >> total.txt
    deps: [parts]
    params: [scale]
    outs: [total.txt]
  report:
    cmd: 'echo report >> $RAN && printf "{\\"lines\\": %d}\\n" $(wc -l < total.txt) > lines.json'
    deps: [total.txt]
    metrics:
      - lines.json:
          cache: false
"""
"""Each command leaves a line with its name in the file `$RAN`."""
NAMES = ("numbers", "parts", "total", "report")


@dataclass(frozen=True)
class Checkout:
    """A checkout of the project.

    Attributes:
        folder: of the checkout.
        ran: the file in which every command leaves its name; outside of all checkouts.
    """

    folder: Path
    ran: Path

    def dvc(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Run `dvc` and give what it printed; `fails` says whether it is to end with an error."""
        return self._run([sys.executable, "-m", "dvc", *arguments], fails, environment)

    def git(self, *arguments: str) -> str:
        return self._run(["git", *arguments], False, {})

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def ran_since(self) -> list[str]:
        """Names of the stages whose commands ran since the last call."""
        names = self.ran.read_text().split() if self.ran.exists() else []
        self.ran.unlink(missing_ok=True)
        return names

    def forget(self, *names: str) -> None:
        """Remove files and folders of the checkout."""
        for name in names:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def clone(self, folder: Path) -> Checkout:
        """What a colleague gets: the commits, and no data."""
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return _settled(Checkout(folder, self.ran))

    def object(self, name: str) -> str:
        """Where an output lies in a cache or a remote, as the lock of this checkout has it."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        digest = next(out["md5"] for stage in lock["stages"].values() for out in stage["outs"] if out["path"] == name)
        return f"files/md5/{digest[:2]}/{digest[2:]}"

    def _run(self, command: list[str], fails: bool, environment: dict[str, str]) -> str:
        settings = {
            "RAN": str(self.ran),
            "COLUMNS": "160",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        names = {
            f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        # A file, since the workers of a queue keep the output of the command that started them open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, **names, **settings, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            said = output.read()
        assert bool(done.returncode) == fails, f"{command} ended with {done.returncode}:\n{said}"
        return said


def make(folder: Path) -> Checkout:
    """The project, committed; no stage has run."""
    project = Checkout(folder / "one", folder / "ran")
    (project.folder / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc/config", project.folder / ".dvc/config")
    shutil.copytree(ROOT / ".dvc/plots", project.folder / ".dvc/plots")
    project.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    project.write("dvc.yaml", STAGES)
    project.write("params.yaml", "# a comment of somebody\ncount: 100\nscale: 1\nsizes: [1, 2, 3]\n")
    project.write("source.txt", "a source\n")
    project.git("init", "--quiet", "--initial-branch", "main")
    _settled(project)
    project.commit("A project")
    return project


def _settled(project: Checkout) -> Checkout:
    """Keep what DVC remembers about files beside the test's other files, instead of in the machine's own folder."""
    project.dvc("config", "--local", "core.site_cache_dir", str(project.folder.parent / "site"))
    return project


def flip(path: Path) -> None:
    """Damage one byte, as a disk would: size, time and permissions stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
