"""What the Prefect UI offers, as two files say it, and the commands that start without it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import yaml
from prefect import Flow

from flows.runtime.server.provision import POOLS
from tests.conftest import ROOT

FILES = ("prefect.yaml", "deploy/kubernetes.yaml")


def deployments(file: str) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["deployments"]
    return entries


def entrypoint(deployment: dict[str, str]) -> Flow[..., object]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow: Flow[..., object] = getattr(import_module(module), name)
    return flow


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("prefect.yaml", ["retrain/retrain", "evaluate-model/evaluate", "bring-up-to-date/download", "stage/gpu"]),
        ("deploy/kubernetes.yaml", ["retrain/kubernetes", "stage/kubernetes"]),
    ],
)
def test_every_deployment_has_a_flow_and_the_name_that_people_know(file: str, names: list[str]) -> None:
    assert [f"{entrypoint(deployment).name}/{deployment['name']}" for deployment in deployments(file)] == names


@pytest.mark.parametrize("file", FILES)
def test_parameters_of_deployments_are_parameters_of_their_flows(file: str) -> None:
    for deployment in deployments(file):
        values = deployment.get("parameters", {})
        assert isinstance(values, dict)
        assert values.keys() <= entrypoint(deployment).parameters.properties.keys()
        if values:
            entrypoint(deployment).validate_parameters(values)


def test_the_pools_and_queues_of_this_machine_s_deployments_are_made_with_the_server() -> None:
    for deployment in deployments("prefect.yaml"):
        pool = deployment["work_pool"]
        assert isinstance(pool, dict)
        assert pool["name"] in POOLS
        assert pool.get("work_queue_name", next(iter(POOLS[pool["name"]]))) in POOLS[pool["name"]]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["flows.retrain", "revison=main"], "usage: python -m flows.retrain [PARAMETER=VALUE …]"),
        (["flows.ui", "--everything"], "usage: python -m flows.ui [-h]"),
        (["flows", "everything"], "usage: python -m flows STAGE [ARGUMENT …]"),
    ],
)
def test_a_command_says_how_it_is_called(words: list[str], answer: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode
    assert done.stderr.startswith(answer)
