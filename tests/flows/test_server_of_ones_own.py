"""The server of deploy/compose.yaml: its settings on real PostgreSQL, and the file as far as it can be checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from clipn.utils.processes import free_port
from tests.flows.conftest import ROOT, OwnServer, running_server
from tests.waiting import wait_until

DEPLOY = ROOT / "deploy"
USER, PASSWORD = "admin", "of-this-test"
FLOW = """\
import sys
from prefect import flow
from prefect.artifacts import create_markdown_artifact

@flow
def work() -> None:
    create_markdown_artifact("done", key="done")
    print("worked")

work.with_options(flow_run_name=sys.argv[1], log_prints=True)()
"""


@dataclass(frozen=True)
class Postgres:
    """A database server on loopback."""

    port: int
    password: str

    def query(self, statement: str) -> str:
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "prefect", "-d", "prefect", "-Atc", statement]
        environment = {**os.environ, "PGPASSWORD": self.password}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def _programs() -> Path | None:
    """Folder of PostgreSQL's own programs, which Debian keeps off the path."""
    found = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)
    return Path(found).parent if found and shutil.which("psql") else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root, and a folder of pytest's would be closed to another user.
    runuser = shutil.which("runuser") or "/usr/sbin/runuser"  # which not every path of root's has
    other = [runuser, "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    try:
        (folder / "password").write_text(PASSWORD)
        if other:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data, port = folder / "data", free_port()
        initdb = [programs / "initdb", "-D", data, "-U", "prefect", "-A", "scram-sha-256"]
        quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([*other, *initdb, "--pwfile", folder / "password"], **quiet)  # type: ignore[call-overload]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        control = [*other, programs / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], **quiet)  # type: ignore[call-overload]
        try:
            create = ["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect"]
            subprocess.run(create, env={**os.environ, "PGPASSWORD": PASSWORD}, check=True)
            yield Postgres(port, PASSWORD)
        finally:
            subprocess.run([*control, "-m", "fast", "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def own(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server with the settings of compose.yaml that decide what is tested here, and a quicker clean-up."""
    settings = _compose()["services"]["server"]["environment"]
    kept = "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"
    address = f"postgresql+asyncpg://prefect:{postgres.password}@127.0.0.1:{postgres.port}/prefect"
    with running_server(
        tmp_path_factory.mktemp("own"),
        PREFECT_API_DATABASE_CONNECTION_URL=address,
        PREFECT_SERVER_API_AUTH_STRING=f"{USER}:{PASSWORD}",
        PREFECT_API_AUTH_STRING=f"{USER}:{PASSWORD}",
        PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="2",
        **{kept: settings[kept]},
    ) as running:
        yield running


def _work(own: OwnServer, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FLOW, name],
        cwd=own.home, env={**own.environment, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_flow_runs_and_its_run_is_in_postgresql(own: OwnServer, postgres: Postgres) -> None:
    done = _work(own, "first")
    assert done.returncode == 0, done.stderr
    assert postgres.query("SELECT name, state_type FROM flow_run WHERE name = 'first'") == "first|COMPLETED"
    assert not list(own.home.glob("*.db"))


def test_who_has_no_password_is_refused(own: OwnServer) -> None:
    ask = {"limit": 1}
    assert httpx.post(f"{own.url}/flow_runs/filter", json=ask).status_code == 401
    assert httpx.post(f"{own.url}/flow_runs/filter", json=ask, auth=(USER, "guess")).status_code == 401
    assert httpx.post(f"{own.url}/flow_runs/filter", json=ask, auth=(USER, PASSWORD)).status_code == 200
    assert httpx.get(f"{own.url}/health").status_code == 200
    refused = _work(own, "refused", PREFECT_API_AUTH_STRING=f"{USER}:guess")
    assert refused.returncode != 0
    assert "401" in refused.stderr


def test_deployments_are_applied_to_it(own: OwnServer, postgres: Postgres, tmp_path: Path) -> None:
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    command = [sys.executable, "-m", "flows.ui", "--no-worker"]
    done = subprocess.run(command, cwd=tmp_path, env=own.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = sorted(entry["name"] for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])
    assert postgres.query("SELECT name FROM deployment ORDER BY name").split() == expected


def test_old_runs_go_with_their_logs_and_new_ones_stay(own: OwnServer, postgres: Postgres) -> None:
    assert [_work(own, name).returncode for name in ("old", "new")] == [0, 0]
    count = "SELECT count(*) FROM {} WHERE flow_run_id = '{}'"
    old, new = (postgres.query(f"SELECT id FROM flow_run WHERE name = '{name}'") for name in ("old", "new"))
    wait_until(lambda: postgres.query(count.format("log", old)) != "0", what="the logs to arrive")
    assert postgres.query(count.format("artifact", old)) == "1"
    postgres.query("UPDATE flow_run SET end_time = now() - interval '91 days' WHERE name = 'old'")
    wait_until(lambda: not postgres.query("SELECT id FROM flow_run WHERE name = 'old'"), what="the old run to go")
    wait_until(lambda: postgres.query(count.format("log", old)) == "0", what="its logs to go")
    assert postgres.query(count.format("artifact", old)) == "0"
    assert postgres.query(f"SELECT state_type FROM flow_run WHERE id = '{new}'") == "COMPLETED"
    assert postgres.query(count.format("artifact", new)) == "1"


def _compose() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return values


def test_the_compose_file_exposes_nothing_beyond_loopback_and_holds_no_password() -> None:
    compose = _compose()
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:4200:4200"]
    for service in ("database", "server"):
        assert compose["services"][service]["healthcheck"]["test"]
    assert "database" in compose["volumes"]
    text = (DEPLOY / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {"POSTGRES_PASSWORD", "PREFECT_AUTH", "ENCRYPTION_KEY"}
    lines = (DEPLOY / "env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example)
    assert not any(example[name] for name in required)


def test_every_setting_of_the_compose_file_is_one_that_prefect_knows() -> None:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    known = {name.upper() for name in _get_settings_fields(Settings)}
    used = {
        name
        for service in _compose()["services"].values()
        for name in service.get("environment", {})
        if name.startswith("PREFECT_")
    }
    # The server reads the key by itself.
    assert used - known == {"PREFECT_SERVER_ENCRYPTION_KEY"}


def test_the_images_have_the_versions_of_the_lock() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    lock = (ROOT / "requirements.lock").read_text()
    assert f"prefect=={version('prefect')}\n" in lock
    assert dockerfile.count("COPY requirements.lock") == 2
    assert "--constraint /tmp/requirements.lock prefect" in dockerfile
