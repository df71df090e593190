"""A clean checkout of a revision in a folder of its own, whatever the last run left there.

The repository only gives: commits are fetched from it, and nothing in it is touched. Outputs of stages are
links into its DVC cache. What `git` ignores in the folder stays from run to run, so that unfinished work in
`data/work` can be continued.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage

from clipn.errors import ClipnError, InvalidParams, MissingInput
from clipn.utils.files import write_text
from flows.deployments.retrain.git import GitFailed, git
from flows.runtime import children

DVC = (sys.executable, "-m", "dvc")
LOCK = "dvc.lock"
"""DVC's file beside each `dvc.yaml`: which results belong to which inputs."""
RESULTS = "reports/"
OURS = ".made-by-retrain"
"""Marks a folder that was made here and may be reset."""
LINKS = "reflink,hardlink,copy"
"""How outputs come from the cache, unless the repository says it: without a copy where the disk can do that."""
_ORIGIN = "refs/remotes/origin"

Log = Callable[[str], None]
"""Takes a line for people."""


class Busy(ClipnError):
    """Another process works in the workspace."""


@contextmanager
def locked(folder: Path, holder: str) -> Iterator[None]:
    """Hold the workspace for the block; the lock ends with this process, however that ends.

    Args:
        folder: the workspace.
        holder: who holds it, for the message to others.

    Raises:
        Busy: another process holds it.
        InvalidParams: it is a file, holds something else, or cannot be made.
    """
    _require_ours(folder)
    path = folder.with_name(f"{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InvalidParams(f"workspace: {path} cannot be written ({error.strerror}); name another folder") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(
                f"the workspace {folder} is in use by {file.read().strip() or 'another run'}; wait for its end, or "
                "name another workspace"
            ) from None
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield


@dataclass(frozen=True)
class Pipeline:
    """What `dvc.yaml` of a checkout says.

    Attributes:
        stages: how many there are.
        results: what a commit of results consists of: every `dvc.lock`, and outputs that git keeps, not DVC:
            metrics, plots data, reports of stages.
    """

    stages: int
    results: tuple[str, ...]


class Workspace:
    """The checkout.

    Args:
        folder: where it lies; made if need be.
        source: path or address of the repository that it comes from.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source

    def git(self, *words: str, text: str | None = None, settings: Mapping[str, str] | None = None) -> str:
        """Run `git` in the checkout. Git never searches the folders above, where the user's own repository may be."""
        own = (f"--git-dir={self.folder / '.git'}", f"--work-tree={self.folder}")
        return git(self.folder, *own, *words, text=text, settings=settings)

    def open(self, log: Log) -> None:
        """Make the folder ready and fetch the repository's branches and tags.

        Raises:
            InvalidParams: the folder holds something else.
            Busy: somebody runs DVC in it by hand.
            GitFailed: the repository cannot be read.
        """
        _require_ours(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / OURS, "A checkout made by the flow 'retrain'. It can be deleted while none runs.\n")
        children.settle(self.folder, log)
        self._unlock()
        try:
            self.fetch()
        except GitFailed:
            if not self._damaged():
                raise
            log(f"The copy of the repository in {self.folder} is damaged; it is fetched again")
            shutil.rmtree(self.folder / ".git")
            self.fetch()

    def commit(self, revision: str) -> str:
        """Return the full hash of the commit that the repository calls `revision`: a branch, tag or hash, or HEAD~1.

        Raises:
            InvalidParams: there is none.
        """
        for name in (f"{_ORIGIN}/{revision}", revision):
            with suppress(GitFailed):
                return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        raise InvalidParams(f"{self.source} has no revision {revision!r}; name a branch, a tag or a commit of a branch")

    def checkout(self, commit: str, accepted: str | None, log: Log) -> None:
        """Bring every file that git tracks to what `commit` holds; only results may be newer ones.

        A `dvc.lock` is right whatever commit it stands in, since DVC compares it with what is there. So where
        nobody has run the pipeline for `commit` itself, results that were made since spare stages that they
        already know: those of the last run here, finished or not, or else the accepted ones.

        Args:
            commit: its hash.
            accepted: that of the last accepted commit, if there is one.
            log: takes a line for people.
        """
        head = self._head()
        if head and self._locks(head) == self._locks(commit) and self._locks_are_whole():
            self.git("reset", "--quiet", commit)
            self._restore([path for path in self._changed() if not _is_result(path)])
            if any(map(_is_result, self._changed())):
                log("Going on from what the last run in this workspace has finished")
                return
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        self.git("clean", "-fdq")
        if accepted and self._locks(accepted) != self._locks(commit) == self._locks(self._merge_base(accepted, commit)):
            differing = self.git("diff", "--name-only", "--no-renames", "--diff-filter=d", "-z", commit, accepted)
            if names := list(filter(_is_result, differing.split("\0"))):
                self.git("--literal-pathspecs", "checkout", "--quiet", accepted, "--", *names)
                self.git("reset", "--quiet")
                log("Going on from the accepted results")

    def connect(self, repository: Path | None) -> bool:
        """Use a repository's DVC cache and remotes, and return whether there is a default remote.

        Args:
            repository: a checkout on this machine; None keeps to what the workspace's own `.dvc/config` says.

        Raises:
            MissingInput: the commit is no DVC project.
        """
        own = self.folder / ".dvc"
        if not own.is_dir():
            raise MissingInput(f"{self.source} has no .dvc at this revision, so there is no pipeline; run 'dvc init'")
        (own / "config.local").unlink(missing_ok=True)
        if repository is not None and (repository / ".dvc").is_dir():
            theirs = Config(str(repository / ".dvc"))
            cache = theirs["cache"]
            with Config(str(own)).edit("local") as local:
                local["cache"]["dir"] = cache.get("dir") or str(repository / ".dvc/cache")
                local["cache"]["type"] = cache.get("type") or LINKS.split(",")
                local["remote"] = theirs["remote"]  # DVC writes relative paths for where they are read
                if default := theirs["core"].get("remote"):
                    local["core"]["remote"] = default
        return bool(Config(str(own))["core"].get("remote"))

    def pipeline(self) -> Pipeline:
        """Read the checkout's `dvc.yaml`.

        Raises:
            InvalidParams: DVC does not understand it.
        """
        try:
            with Repo(str(self.folder)) as repo:
                stages = repo.index.stages
                outs = [out for out in repo.index.outs if not out.use_cache and out.is_in_repo]
                files = {Path(stage.path).with_name(LOCK) for stage in stages if isinstance(stage, PipelineStage)}
                files |= {Path(out.fs_path) for out in outs}
                return Pipeline(len(stages), tuple(sorted(str(path.relative_to(self.folder)) for path in files)))
        except DvcException as error:
            raise InvalidParams(f"{self.folder / 'dvc.yaml'}: {error}") from error

    def run(self, command: Sequence[str], log: Log, settings: Mapping[str, str] | None = None) -> int:
        """Run a command here and return its exit status; it ends with this process."""
        return children.run(command, self.folder, children.environment(self.folder, settings), log)

    def fetch(self) -> None:
        """Bring branches and tags up to what the repository has."""
        if not (self.folder / ".git").is_dir():
            git(self.folder, "init", "--quiet", "--template=", str(self.folder))
            write_text(self.folder / ".git/info/exclude", f"/{OURS}\n")
        refs = ("+HEAD:" + f"{_ORIGIN}/HEAD", f"+refs/heads/*:{_ORIGIN}/*", "+refs/tags/*:refs/tags/*")
        self.git("fetch", "--quiet", "--prune", "--update-shallow", "--end-of-options", self.source, *refs)

    def _damaged(self) -> bool:
        try:
            self.git("fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        except GitFailed:
            return True
        return False

    def _unlock(self) -> None:
        """Remove locks of processes that were killed. Those of this workspace have all ended by now."""
        if by_hand := _dvc_by_hand(self.folder):
            raise Busy(f"process {by_hand.pid} runs DVC in the workspace {self.folder}; wait for its end")
        for lock in [*self.folder.glob(".git/**/*.lock"), self.folder / ".dvc/tmp/rwlock"]:
            lock.unlink(missing_ok=True)

    def _head(self) -> str | None:
        with suppress(GitFailed):
            return self.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return None

    def _locks(self, commit: str | None) -> list[str]:
        """Return every `dvc.lock` of a commit, with its hash."""
        lines = self.git("ls-tree", "-r", "-z", commit).split("\0") if commit else []
        return [line for line in lines if _is_lock(line)]

    def _merge_base(self, one: str, other: str) -> str | None:
        """Return the merge base of two commits; None if they share no history."""
        with suppress(GitFailed):
            return self.git("merge-base", one, other)
        return None

    def _restore(self, paths: Sequence[str]) -> None:
        """Bring these files to what HEAD holds, and remove those that it does not hold."""
        if not paths:
            return
        tracked = self.git("--literal-pathspecs", "ls-files", "-z", "--", *paths).split("\0")[:-1]
        if tracked:
            self.git("--literal-pathspecs", "checkout", "--force", "--", *tracked)
        self.git("--literal-pathspecs", "clean", "-fdq", "--", *paths)

    def _changed(self) -> list[str]:
        """Return paths of tracked files that differ from HEAD, and of files that are neither tracked nor ignored."""
        words = self.git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames").split("\0")
        return [word[3:] for word in words if word]

    def _locks_are_whole(self) -> bool:
        """Return whether DVC can read every `dvc.lock`: a process that was killed may have cut one."""
        try:
            with Repo(str(self.folder)) as repo:
                _ = [stage.outs for stage in repo.index.stages]
        except (DvcException, yaml.YAMLError):
            return False
        return True


def _require_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InvalidParams(f"workspace: {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / OURS).is_file():
        raise InvalidParams(
            f"workspace: {folder} holds files that no retraining put there, and it would be reset; "
            "name a folder that is empty or does not exist"
        )


def _is_lock(path: str) -> bool:
    return path.endswith(("/" + LOCK, "\t" + LOCK)) or path == LOCK


def _is_result(path: str) -> bool:
    return path.startswith(RESULTS) or _is_lock(path)


def _dvc_by_hand(folder: Path) -> psutil.Process | None:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()[:3]
            if any(Path(word).name == "dvc" for word in words) and Path(process.cwd()).is_relative_to(folder):
                return process
    return None
