"""Experiments under the project's own `.dvc/config` and plot templates."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows import dvc_project
from tests.flows.dvc_project import NAMES, Checkout

TEMPLATES = sorted((dvc_project.ROOT / ".dvc/plots").glob("*.json"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Checkout]:
    """The project with results, committed; no worker of its queue is left."""
    made = dvc_project.make(tmp_path)
    (made.folder / "conf").mkdir()
    made.write("conf/config.yaml", "count: 100\nscale: 1\nsizes: [1, 2, 3]\n")
    made.dvc("repro")
    made.commit("Results")
    made.ran_since()
    yield made
    made.dvc("queue", "stop", "--kill")


def shown(project: Checkout) -> dict[str, dict[str, Any]]:
    """Name of each experiment of the last commit → what it holds; without those that failed or wait."""
    rows = json.loads(project.dvc("exp", "show", "--json", "--hide-queued", "--hide-failed"))
    found = next(row for row in rows if row["rev"] != "workspace")
    return {each["name"]: each["revs"][0]["data"] for each in found["experiments"] or ()}


def params(project: Checkout) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project.folder / "params.yaml").read_text())
    return found


def ended(project: Checkout, seconds: float = 150) -> str:
    """Wait until the queue has nothing that waits or runs; gives its last status."""
    deadline = time.monotonic() + seconds
    while True:
        status = project.dvc("queue", "status")
        if not any(word in status for word in ("Queued", "Running")):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(1)


def test_one_value_changes_and_what_depends_on_it_runs(project: Checkout) -> None:
    project.dvc("exp", "run", "--name", "doubled", "--set-param", "scale=2")
    assert project.ran_since() == ["total", "report"]
    assert shown(project)["doubled"]["params"]["params.yaml"]["data"]["scale"] == 2


def test_the_profile_in_use_stays(project: Checkout) -> None:
    """`conf/` says 100; that is not what was chosen."""
    project.write("params.yaml", "# of another profile\ncount: 70\nscale: 1\nsizes: [1, 2, 3]\n")
    project.dvc("exp", "run", "--set-param", "scale=2", "--set-param", "sizes=[7]")
    assert params(project) == {"count": 70, "scale": 2, "sizes": [7]}
    assert (project.folder / "params.yaml").read_text().startswith("# of another profile\n")
    project.dvc("exp", "run", "--name", "bare")
    assert params(project)["count"] == 70


def test_unknown_parameters_are_refused(project: Checkout) -> None:
    for change in ("scael=2", "profile=cc3m"):
        assert f"Key '{change.partition('=')[0]}' is not in struct" in project.dvc(
            "exp", "run", "--set-param", change, fails=True
        )
    assert project.ran_since() == []
    assert project.git("status", "--porcelain") == ""


def test_a_queued_grid_runs_in_folders_of_its_own(project: Checkout) -> None:
    said = project.dvc("exp", "run", "--queue", "--name", "grid", "-S", "scale=2,3", "-S", "sizes=[1],[1,2]")
    assert said.count("Queued experiment") == 4
    project.dvc("queue", "remove", "grid-2", "grid-4")
    before = params(project)
    project.dvc("queue", "start", "--jobs", "2")
    assert ended(project).count("Success") == 2
    assert sorted(project.ran_since()) == ["report", "report", "total", "total"]
    assert params(project) == before
    found = {name: data["params"]["params.yaml"]["data"] for name, data in shown(project).items()}
    assert {name: (values["scale"], values["sizes"]) for name, values in found.items()} == {
        "grid-1": (2, [1]),
        "grid-3": (3, [1]),
    }
    project.dvc("exp", "apply", "grid-3")
    assert params(project)["scale"] == 3
    assert (project.folder / "total.txt").read_text().endswith("\n3\n")
    assert "up to date" in project.dvc("status")


def test_ranges_are_sweeps_too(project: Checkout) -> None:
    said = project.dvc("exp", "run", "--queue", "-S", "scale=range(2,5)", "-S", "count=choice(30,40)")
    assert said.count("Queued experiment") == 6


def test_a_killed_experiment_goes_on_where_it_was(project: Checkout) -> None:
    slow = dvc_project.STAGES.replace("echo report >> $RAN", "echo report >> $RAN && sleep $PAUSE")
    project.write("dvc.yaml", slow)
    project.dvc("repro", PAUSE="0")
    project.commit("A report that takes its time")
    project.ran_since()
    project.dvc("exp", "run", "--queue", "--name", "half", "-S", "count=50")
    project.dvc("queue", "start", PAUSE="600")
    deadline = time.monotonic() + 60
    while "report" not in (project.ran.read_text() if project.ran.exists() else ""):
        assert time.monotonic() < deadline, project.dvc("queue", "logs", "half")
        time.sleep(0.5)
    assert project.ran_since() == list(NAMES)
    project.dvc("queue", "kill", "half")
    assert "Failed" in ended(project)
    project.dvc("exp", "run", "--queue", "--name", "again", "-S", "count=50")
    project.dvc("queue", "start", PAUSE="0")
    assert "again" in ended(project)
    assert project.ran_since() == ["report"]
    assert shown(project)["again"]["metrics"]["lines.json"]["data"] == {"lines": 51}


def test_experiments_travel_with_their_data(project: Checkout, tmp_path: Path) -> None:
    store = tmp_path / "clipn-storage"
    project.dvc("remote", "modify", "--local", "storage", "url", str(store))
    project.dvc("push")
    project.dvc("exp", "run", "--name", "doubled", "-S", "scale=2")
    project.git("init", "--quiet", "--bare", "--initial-branch", "main", str(tmp_path / "git"))
    project.git("remote", "add", "origin", str(tmp_path / "git"))
    project.git("push", "--quiet", "origin", "main")
    project.dvc("exp", "push", "origin", "doubled")
    assert (store / project.object("total.txt")).is_file()
    other = project.clone(tmp_path / "two")
    other.git("remote", "set-url", "origin", str(tmp_path / "git"))
    other.dvc("remote", "modify", "--local", "storage", "url", str(store))
    other.dvc("exp", "pull", "origin", "doubled")
    other.dvc("exp", "apply", "doubled")
    project.ran_since()
    other.dvc("repro", "--pull")
    assert other.ran_since() == []
    assert (other.folder / "total.txt").read_text().endswith("\n2\n")


DATA = {
    "bars": ("bars.csv", "method,auroc\nA,1.0\nB,0.5\n", "{x: auroc, y: {bars.csv: method}"),
    "roc": ("points.csv", "fpr,A,B\n0.0,0.0,0.0\n0.5,0.97,0.4\n1.0,1.0,1.0\n", "{x: fpr, y: {points.csv: [A, B]}"),
    "histogram": (
        "bars.csv",
        "method,set_kind,bin_centre,density\nA,ID,0.1,1.0\nA,OOD,0.1,2.0\n",
        "{x: bin_centre, y: {bars.csv: density}",
    ),
    "training": (
        "loss.tsv",
        "step\tloss\n" + "".join(f"{i}\t{9 - i}.5\n" for i in range(9)),
        "{x: step, y: {loss.tsv: loss}",
    ),
}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_takes_what_dvc_gives(project: Checkout, template: Path) -> None:
    name, text, plot = DATA[template.stem]
    project.write(name, text)
    project.write("dvc.yaml", f"{dvc_project.STAGES}plots:\n- drawn: {plot}, template: {template.stem}}}\n")
    project.commit("A plot")
    project.write(name, text.replace("1.0", "0.9"))
    (drawn,) = json.loads(project.dvc("plots", "diff", "HEAD", "--json"))["data"]["drawn"]
    spec = drawn["content"]
    assert {row["rev"] for row in spec["data"]["values"]} == {"HEAD", "workspace"}
    assert "<DVC_METRIC" not in json.dumps(spec)
