"""A project of four tiny stages with seeds and metrics, for the flow that retrains: real git, real DVC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DVC_YAML = """\
stages:
  data:
    cmd: python stage.py data
    deps: [stage.py]
    params: [data]
    outs: [data/numbers.txt]
  train:
    matrix:
      seed: ${train.seeds}
    cmd: python stage.py train ${item.seed}
    deps: [data/numbers.txt, train.txt]
    params: [train.bias]
    outs:
      - models/seed-${item.seed}.txt
      - reports/metrics/b/seed-${item.seed}.json:
          cache: false
  report:
    cmd: python stage.py report
    deps: [reports/metrics]
    params: [train.seeds]
    outs:
      - reports/report.html
      - reports/results.md:
          cache: false
    metrics:
      - reports/metrics.json:
          cache: false
"""

STAGE = '''\
"""The stages. Each leaves a line in $RAN; a stage whose name is in the file $SLOW waits until it is told to end."""
import json, os, subprocess, sys, time
from pathlib import Path

import yaml

stage, *words = sys.argv[1:]
name = " ".join([stage, *words])
with open(os.environ["RAN"], "a") as ran:
    ran.write(name + "\\n")
params = yaml.safe_load(Path("params.yaml").read_text())
slow = Path(os.environ["SLOW"])
if slow.is_file() and slow.read_text() == name:
    Path("data/work").mkdir(parents=True, exist_ok=True)
    Path("data/work/unfinished").write_text("half")
    # As a trainer: in a session of its own, told to end by the end of its standard input.
    child = subprocess.Popen(
        [sys.executable, "-c", "import os; os.read(0, 1)"], stdin=subprocess.PIPE, start_new_session=True
    )
    Path(os.environ["RAN"] + ".waits").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)
if stage == "data":
    Path("data").mkdir(exist_ok=True)
    Path("data/numbers.txt").write_text(f"{params['data']}\\n")
elif stage == "train":
    seed = int(words[0])
    bias = params["train"]["bias"] + float(Path("train.txt").read_text())
    Path("models").mkdir(exist_ok=True)
    Path(f"models/seed-{seed}.txt").write_text(f"{seed} {bias}\\n")
    auroc = round(0.8 + 0.002 * seed + bias, 6)
    of_set = {"auroc": auroc, "fpr95_id_interpolated": round(1 - auroc, 6)}
    methods = {"CLIPN-ATD": {"average": of_set, "ood": {"near": of_set}}}
    path = Path(f"reports/metrics/b/seed-{seed}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"fpr_convention": "id-interpolated", "methods": methods}))
else:
    values = [
        json.loads(Path(f"reports/metrics/b/seed-{seed}.json").read_text())["methods"]["CLIPN-ATD"]["average"]
        for seed in params["train"]["seeds"]
    ]
    means = {key: {"average": round(sum(v[key] for v in values) / len(values), 6)} for key in values[0]}
    Path("reports/metrics.json").write_text(json.dumps({"b": {"CLIPN-ATD": means}}))
    Path("reports/results.md").write_text("# Results\\n")
    Path("reports/report.html").write_text("<p>Results</p>\\n")
'''

REPRO = """\
import subprocess, sys
if subprocess.call([sys.executable, "-m", "dvc", "repro", *sys.argv[1:]]):
    sys.exit("error: dvc repro failed; the message above says why. Finished stages are kept")
"""

FILES = {
    "dvc.yaml": DVC_YAML,
    "stage.py": STAGE,
    "flows/__init__.py": "",
    "flows/repro.py": REPRO,
    "params.yaml": "data: 1\ntrain:\n  bias: 0.0\n  seeds: [0, 1, 2]\n",
    "train.txt": "0.0\n",
    ".gitignore": "/data/\n/models/\n/reports/report.html\n__pycache__/\n",
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n    remote = storage\n"
    "['remote \"storage\"']\n    url = ../../storage\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
}
STAGES = ["data", "train 0", "train 1", "train 2", "report"]


@dataclass(frozen=True)
class Project:
    """The user's own checkout.

    Attributes:
        folder: of the checkout.
        ran: outside of it; every stage leaves its name there.
        slow: outside of it; names the stage that waits instead of ending.
    """

    folder: Path
    ran: Path
    slow: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "data/work/retrain"

    @property
    def environment(self) -> dict[str, str]:
        return {"RAN": str(self.ran), "SLOW": str(self.slow)}

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def dvc(self, *words: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "dvc", *words]
        subprocess.run(command, cwd=self.folder, env={**os.environ, **self.environment, "PATH": path}, check=True)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, message: str, **files: Any) -> str:
        """Change parameters, commit everything, and give the commit."""
        if files:
            params = yaml.safe_load((self.folder / "params.yaml").read_text())
            params["train"].update(files)
            self.write("params.yaml", yaml.safe_dump(params))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def show(self, path: str, revision: str) -> Any:
        return json.loads(self.git("show", f"{revision}:{path}"))

    def ran_since(self) -> list[str]:
        """Names of the stages that ran since the last call."""
        names = self.ran.read_text().splitlines() if self.ran.exists() else []
        self.ran.unlink(missing_ok=True)
        return names


def make(folder: Path) -> Project:
    """The project, committed; no stage has run."""
    project = Project(folder / "project", folder / "ran", folder / "slow")
    for name, text in FILES.items():
        project.write(name, text)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("config", "user.name", "Ann Other")
    project.git("config", "user.email", "ann@localhost")
    project.commit("A project")
    return project
