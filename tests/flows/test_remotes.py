"""Remotes under the project's own `.dvc/config`: a folder, and a real S3 server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3fs

from tests.conftest import ROOT
from tests.flows import dvc_project
from tests.flows.dvc_project import NAMES, Checkout, flip

STORE = "clipn-storage"
BUCKET = "clipn"
KEY, SECRET = "somebody", "a-secret-of-theirs"


@dataclass(frozen=True)
class Store:
    """Where a remote's objects lie, by their paths in it."""

    damage: Callable[[str], None]
    remove: Callable[[str], None]


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. It has one bucket, `BUCKET`, and one user."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    rclone = Path(sys.executable).with_name("rclone")
    command = [str(rclone), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", "127.0.0.1:0", str(folder)]
    with subprocess.Popen([*command, "--config", "/dev/null"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        yield next(match[0] for line in process.stderr if (match := re.search(r"http://127\.0\.0\.1:\d+", line)))
        process.terminate()


@pytest.fixture(params=["folder", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Checkout, Store]:
    """A project whose default remote is a folder, as in the repository, or on a real S3 server."""
    project = dvc_project.make(tmp_path)
    if request.param == "folder":
        folder = tmp_path / STORE
        return project, Store(lambda name: flip(folder / name), lambda name: (folder / name).unlink())
    address = request.getfixturevalue("s3_server")
    place = f"{BUCKET}/{tmp_path.name}"
    use_s3(project, address, tmp_path.name)
    project.commit("S3")
    files = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=address)
    # Other bytes, as an upload by a damaged machine leaves them: the server's own checksum fits them.
    return project, Store(
        lambda name: files.pipe_file(f"{place}/{name}", b"something else"), lambda name: files.rm(f"{place}/{name}")
    )


def use_s3(project: Checkout, address: str, prefix: str) -> None:
    """The commands of docs/remotes.md."""
    project.dvc("remote", "add", "--default", "s3", f"s3://{BUCKET}/{prefix}")
    project.dvc("remote", "modify", "s3", "endpointurl", address)
    project.dvc("remote", "modify", "s3", "verify", "true")


def address_in_full(project: Checkout) -> None:
    """The command of docs/remotes.md: DVC misreads a relative address in the configuration of other commits."""
    project.dvc("remote", "modify", "--local", "storage", "url", str(project.folder.parent / STORE))


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def pushed(project: Checkout) -> None:
    """Run everything, commit it and push data and run cache."""
    project.dvc("repro")
    project.commit("Results")
    project.dvc("push", "--run-cache")
    assert project.ran_since() == list(NAMES)


def test_a_second_checkout_gets_everything_and_runs_nothing(remote: tuple[Checkout, Store], tmp_path: Path) -> None:
    project, _ = remote
    pushed(project)
    other = project.clone(tmp_path / "two")
    assert "Pulling data for stage: 'parts'" in other.dvc("repro", "--pull")
    assert other.ran_since() == []
    for name in ("numbers.txt", "total.txt", "lines.json"):
        assert (other.folder / name).read_text() == (project.folder / name).read_text()
    assert len(list((other.folder / "parts").iterdir())) == 10
    assert "up to date" in other.dvc("status")
    assert other.git("status", "--porcelain") == ""


def test_results_without_a_lock_come_from_the_shared_run_cache(remote: tuple[Checkout, Store], tmp_path: Path) -> None:
    project, _ = remote
    pushed(project)
    lock = (project.folder / "dvc.lock").read_text()
    other = project.clone(tmp_path / "two")
    other.forget("dvc.lock")
    other.dvc("repro", "--pull")
    # `report` keeps its output in git alone, so no remote has it.
    assert other.ran_since() == ["report"]
    assert (other.folder / "dvc.lock").read_text() == lock


def test_without_the_run_cache_such_stages_run(remote: tuple[Checkout, Store], tmp_path: Path) -> None:
    project, _ = remote
    project.dvc("repro")
    project.dvc("push")
    project.commit("Results")
    project.ran_since()
    other = project.clone(tmp_path / "two")
    other.forget("dvc.lock")
    other.dvc("repro", "--pull")
    assert other.ran_since() == list(NAMES)


def test_a_damaged_object_never_lands_in_a_workspace(remote: tuple[Checkout, Store], tmp_path: Path) -> None:
    project, store = remote
    pushed(project)
    damaged = project.object("numbers.txt")
    store.damage(damaged)
    other = project.clone(tmp_path / "two")
    assert "numbers.txt" in other.dvc("pull", fails=True)
    assert not (other.folder / "numbers.txt").exists()
    assert not (other.folder / ".dvc/cache" / damaged).exists()
    # Whoever has the data repairs it; DVC does not write what is there already.
    assert "up to date" in project.dvc("push")
    store.remove(damaged)
    assert "1 file pushed" in project.dvc("push")
    other.dvc("pull")
    assert (other.folder / "numbers.txt").read_text() == (project.folder / "numbers.txt").read_text()
    assert "up to date" in other.dvc("status")
    assert other.ran_since() == []


def test_a_damaged_listing_of_a_folder_is_noticed_afterwards(tmp_path: Path) -> None:
    """`verify` does not cover it: files may get wrong names. No stage goes on from that."""
    project = dvc_project.make(tmp_path)
    pushed(project)
    listing = tmp_path / STORE / project.object("parts")
    mode = listing.stat().st_mode
    listing.chmod(0o644)
    listing.write_bytes(listing.read_bytes().replace(b'"ab"', b'"zz"'))
    listing.chmod(mode)
    other = project.clone(tmp_path / "two")
    other.dvc("pull")
    assert (other.folder / "parts/zz").exists()
    assert re.search(r"parts:\n.*\n.*not in cache: +parts\n", other.dvc("status"))
    other.dvc("repro")
    assert other.ran_since() == ["parts"]
    assert (other.folder / "parts/ab").exists()
    assert not (other.folder / "parts/zz").exists()
    assert "up to date" in other.dvc("status")


def test_a_stage_whose_result_is_damaged_in_the_remote_runs(remote: tuple[Checkout, Store], tmp_path: Path) -> None:
    project, store = remote
    pushed(project)
    store.damage(project.object("numbers.txt"))
    other = project.clone(tmp_path / "two")
    assert "Unable to pull data for stage: 'numbers'" in other.dvc("repro", "--pull")
    assert other.ran_since() == ["numbers"]
    assert "up to date" in other.dvc("push")
    assert other.git("status", "--porcelain") == ""


def test_what_verify_is_for(tmp_path: Path) -> None:
    """Without it, DVC hands on what the remote has."""
    project = dvc_project.make(tmp_path)
    pushed(project)
    flip(tmp_path / STORE / project.object("numbers.txt"))
    other = project.clone(tmp_path / "two")
    other.dvc("remote", "modify", "--local", "storage", "verify", "false")
    other.dvc("pull")
    assert (other.folder / "numbers.txt").read_bytes() != (project.folder / "numbers.txt").read_bytes()


def test_a_damaged_cache_is_found_by_the_command_of_the_docs(tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    pushed(project)
    whole = (project.folder / "numbers.txt").read_bytes()
    command = next(block for block in blocks() if "md5sum" in block)

    def check() -> str:
        done = subprocess.run(["bash", "-c", command], cwd=project.folder, capture_output=True, text=True, check=False)
        return done.stdout

    assert check() == ""
    cached = project.folder / ".dvc/cache" / project.object("numbers.txt")
    flip(cached)
    project.forget("numbers.txt")
    project.dvc("checkout")  # DVC believes its cache …
    assert "up to date" in project.dvc("status")
    assert (project.folder / "numbers.txt").read_bytes() != whole
    assert check() == f"{cached.relative_to(project.folder / '.dvc/cache/files/md5')}: FAILED\n"
    cached.unlink()
    project.forget("numbers.txt")
    project.dvc("pull")  # … and fetches what is not there
    assert (project.folder / "numbers.txt").read_bytes() == whole
    assert check() == ""


def blocks() -> list[str]:
    """The shell commands of the page on remotes."""
    return re.findall(r"```bash\n(.*?)```", (ROOT / "docs/remotes.md").read_text(encoding="utf-8"), re.DOTALL)


def test_several_checkouts_share_the_default_remote(tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    pushed(project)
    assert (tmp_path / STORE / project.object("total.txt")).is_file()
    other = project.clone(tmp_path / "two")
    assert str(tmp_path / STORE) in other.dvc("remote", "list")


def test_a_remote_that_is_not_there_yet_costs_nothing(tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    project.dvc("repro", "--pull")
    assert project.ran_since() == list(NAMES)
    assert not (tmp_path / STORE).exists()


def test_a_pull_from_a_remote_without_the_data_says_so(tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    project.dvc("repro")
    project.commit("Results, not pushed")
    said = project.clone(tmp_path / "two").dvc("pull", fails=True)
    assert "missing" in said
    assert "numbers.txt" in said


def test_a_refused_key_is_said(s3_server: str, tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    project.dvc("repro")
    use_s3(project, s3_server, tmp_path.name)
    for command in ("push", "fetch"):
        assert "Forbidden" in project.dvc(command, fails=True, AWS_ACCESS_KEY_ID="nobody")


def test_a_server_that_does_not_answer_stops_everything(tmp_path: Path) -> None:
    """A stage that the remote may have must not run for hours because of a network that is down."""
    project = dvc_project.make(tmp_path)
    use_s3(project, "http://127.0.0.1:9", tmp_path.name)
    message = "Could not connect to the endpoint URL"
    assert message in project.dvc("repro", "--pull", fails=True, AWS_MAX_ATTEMPTS="1")
    assert project.ran_since() == []
    project.dvc("repro")
    assert message in project.dvc("push", fails=True, AWS_MAX_ATTEMPTS="1")


def test_garbage_collection_keeps_what_tags_need(tmp_path: Path) -> None:
    project = dvc_project.make(tmp_path)
    kept = {}
    for scale, message in ((1, "first"), (2, "second"), (3, "third")):
        project.write("params.yaml", f"count: 100\nscale: {scale}\n")
        project.dvc("repro")
        project.commit(message)
        kept[message] = project.object("total.txt")
    project.git("tag", "accepted", "HEAD~2")
    address_in_full(project)
    project.dvc("push", "--all-commits")

    def left(store: Path) -> set[str]:
        return {message for message, name in kept.items() if (store / name).exists()}

    cache, store = project.folder / ".dvc/cache", tmp_path / STORE
    assert left(cache) == left(store) == {"first", "second", "third"}
    project.dvc("gc", "--workspace", "--all-tags", "--dry")
    assert left(cache) == {"first", "second", "third"}
    project.dvc("gc", "--workspace", "--all-tags", "--force")
    assert left(cache) == {"first", "third"}
    assert left(store) == {"first", "second", "third"}
    project.dvc("gc", "--workspace", "--all-tags", "--cloud", "--force")
    assert left(store) == {"first", "third"}
    project.git("checkout", "--quiet", "accepted")
    project.dvc("checkout")
    assert "up to date" in project.dvc("status")
