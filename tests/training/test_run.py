"""A whole training run: interrupted anywhere, damaged, with other parameters, on several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from clipn.errors import BackboneMismatch, Interrupted, InvalidData, InvalidParams
from clipn.models.no_encoder import WEIGHTS, read_config
from clipn.project.params import parse_params
from clipn.training import run, step_log
from clipn.training.checkpoint import STATE
from clipn.training.distributed import Group
from clipn.training.run import Job
from tests.training_data import write_pairs
from tests.waiting import wait_until

ALONE = Group(0, 1, torch.device("cpu"))
STEPS = 24  # two epochs of 200 pairs


@pytest.fixture
def job(training_project: Path, tmp_path: Path) -> Job:
    params = parse_params(yaml.safe_load((training_project / "params.yaml").read_text())).train
    sets = training_project / "data/features/sets"
    return Job(
        seed=0,
        params=params,
        backbone=training_project / "data/backbone",
        features=training_project / "data/features/train",
        id_features=sets / "emoticons",
        ood_features=sets / "dingbats",
        out=tmp_path / "model",
        work=tmp_path / "work",
    )


@pytest.fixture(scope="module")
def uninterrupted(training_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing happened to, by the command."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(command(folder), cwd=training_project, check=True)
    return load_file(folder / "model" / WEIGHTS)


def command(folder: Path, *options: str, launcher: tuple[str, ...] = ()) -> list[str]:
    paths = ["--out", str(folder / "model"), "--work", str(folder / "work")]
    return [sys.executable, *launcher, "-m", "clipn", "train", "0", "--device", "cpu", "--quiet", *paths, *options]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def stop_after(count: int) -> Callable[[], bool]:
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= count


def test_makes_a_model_and_a_log(job: Job, uninterrupted: dict[str, torch.Tensor]) -> None:
    assert run.run(job, ALONE) == 200
    assert same(load_file(job.out / WEIGHTS), uninterrupted)
    config = read_config(job.out)
    assert (config.variant, config.n_prompts, config.seed, config.learned_scale) == ("learnable", 3, 0, False)
    log = step_log.read(job.work / "steps.csv")
    assert [step.step for step in log] == list(range(STEPS))
    assert [step.epoch for step in log] == [0] * 12 + [1] * 12
    assert [step.step + 1 for step in log if step.auroc_atd is not None] == [5, 10, 15, 20, 24]
    assert all(0 <= step.auroc_ctw <= 1 for step in log if step.auroc_ctw is not None)
    assert not (job.work / "checkpoints").exists()


def test_looking_at_auroc_changes_no_weight(job: Job, uninterrupted: dict[str, torch.Tensor]) -> None:
    run.run(replace(job, params=replace(job.params, check=replace(job.params.check, every=0))), ALONE)
    assert same(load_file(job.out / WEIGHTS), uninterrupted)
    assert all(step.auroc_atd is None for step in step_log.read(job.work / "steps.csv"))


@pytest.mark.parametrize("step", [1, 11, 12, 23])
def test_stopped_and_resumed_equals_uninterrupted(job: Job, uninterrupted: dict[str, torch.Tensor], step: int) -> None:
    with pytest.raises(Interrupted, match=rf"stopped after step {step} of 24"):
        run.run(job, ALONE, stop=stop_after(step))
    assert not job.out.exists()
    seen: list[int] = []
    run.run(job, ALONE, on_step=lambda done, total: seen.append(done.step))
    assert seen == list(range(step, STEPS))
    assert same(load_file(job.out / WEIGHTS), uninterrupted)
    assert [row.step for row in step_log.read(job.work / "steps.csv")] == list(range(STEPS))


def test_killed_and_started_again_equals_uninterrupted(
    training_project: Path, tmp_path: Path, uninterrupted: dict[str, torch.Tensor]
) -> None:
    process = subprocess.Popen(command(tmp_path, "--checkpoint-seconds", "0"), cwd=training_project)
    log = tmp_path / "work/steps.csv"
    deadline = time.monotonic() + 60
    while not (log.is_file() and len(log.read_text().splitlines()) > 7):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "work/checkpoints").glob("step-*"))
    assert not (tmp_path / "model").exists()
    again = subprocess.run(command(tmp_path), cwd=training_project, check=True)
    assert again.returncode == 0
    assert same(load_file(tmp_path / "model" / WEIGHTS), uninterrupted)


def test_ctrl_c_writes_a_checkpoint(training_project: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path), cwd=training_project, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "work/steps.csv"
    while not (log.is_file() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "work/checkpoints").iterdir())) == 1


def test_ends_with_its_parent(training_project: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(tmp_path, "--end-with-parent"), cwd=training_project, stdin=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 130


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    job: Job, uninterrupted: dict[str, torch.Tensor]
) -> None:
    for step in (5, 4):  # the second run resumes after 5 and stops 4 steps later
        with pytest.raises(Interrupted):
            run.run(job, ALONE, stop=stop_after(step))
    newest = job.work / "checkpoints/step-00000009" / STATE
    newest.write_bytes(newest.read_bytes()[:1000])
    said: list[str] = []
    seen: list[int] = []
    run.run(job, ALONE, warn=said.append, on_step=lambda done, total: seen.append(done.step))
    assert seen[0] == 5
    assert "step-00000009" in said[0]
    assert same(load_file(job.out / WEIGHTS), uninterrupted)


@pytest.mark.parametrize("change", [{"lr": 1e-3}, {"weight_tso": 1.0}])
def test_other_parameters_do_not_continue_a_checkpoint(job: Job, change: dict[str, Any]) -> None:
    with pytest.raises(Interrupted):
        run.run(job, ALONE, stop=stop_after(3))
    other = replace(job, params=replace(job.params, **change))
    said: list[str] = []
    seen: list[int] = []
    run.run(other, ALONE, warn=said.append, on_step=lambda done, total: seen.append(done.step))
    assert seen[0] == 0
    assert f"train.{next(iter(change))} was" in said[0]
    aside = job.work.with_name("work.aside-1")
    assert str(aside) in said[0]
    aside.rename(job.work.with_name("back"))  # what was done is not lost
    seen.clear()
    run.run(replace(job, work=job.work.with_name("back")), ALONE, on_step=lambda done, total: seen.append(done.step))
    assert seen[0] == 3


@pytest.mark.parametrize("settings", [{"temperature": "learned"}, {"variant": "handcrafted"}])
def test_variants_resume_too(job: Job, settings: dict[str, Any]) -> None:
    job = replace(job, params=replace(job.params, **settings))
    run.run(job, ALONE)
    other = replace(job, out=job.out.with_name("other"), work=job.work.with_name("other-work"))
    with pytest.raises(Interrupted):
        run.run(other, ALONE, stop=stop_after(7))
    run.run(other, ALONE)
    assert same(load_file(job.out / WEIGHTS), load_file(other.out / WEIGHTS))
    assert read_config(job.out).learned_scale == ("temperature" in settings)
    assert read_config(job.out).n_prompts == (0 if "variant" in settings else 3)


@pytest.mark.parametrize(
    ("settings", "counts"), [({"temperature": "learned"}, (2, 4)), ({"variant": "handcrafted"}, (2,))]
)
def test_several_processes_equal_one(
    training_project: Path, job: Job, tmp_path: Path, settings: dict[str, Any], counts: tuple[int, ...]
) -> None:
    """Real processes; the shards of 130, 7, 61 and 2 pairs divide evenly among none of them."""
    params = yaml.safe_load((training_project / "params.yaml").read_text())
    # The order of sums differs; a larger eps keeps Adam from blowing that up where gradients are all but zero.
    params["train"].update(settings, eps=1e-4)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    run.run(replace(job, params=parse_params(params).train), ALONE)
    weights, log = load_file(job.out / WEIGHTS), step_log.read(job.work / "steps.csv")
    for processes in counts:
        folder = tmp_path / str(processes)
        launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        call = command(folder, "--params", str(path), launcher=launcher)
        subprocess.run(call, cwd=training_project, check=True, env=env, stderr=subprocess.PIPE)
        theirs = step_log.read(folder / "work/steps.csv")
        for name in ("loss_yes", "loss_no", "loss_tso", "loss", "logit_scale", "auroc_ctw", "auroc_atd"):
            ours = [getattr(step, name) for step in log]
            assert [getattr(step, name) for step in theirs] == pytest.approx(ours, abs=1e-5), name
        assert [step.grad_norm for step in theirs] == pytest.approx([step.grad_norm for step in log], rel=1e-5)
        for name, tensor in load_file(folder / "model" / WEIGHTS).items():
            torch.testing.assert_close(counted(name, tensor), counted(name, weights[name]), rtol=1e-5, atol=1e-5)


def counted(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` without the bias of attention's keys.

    Softmax takes no notice of it, so its gradient is zero but for rounding, which Adam blows up to
    the size of a step.
    """
    if not name.endswith("in_proj_bias"):
        return tensor
    query, _, value = tensor.chunk(3)
    return torch.cat([query, value])


def test_a_process_that_dies_ends_all(training_project: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    params = yaml.safe_load((training_project / "params.yaml").read_text())
    params["train"]["epochs"] = 1000
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    process = subprocess.Popen(
        command(tmp_path, "--params", str(tmp_path / "params.yaml"), launcher=launcher),
        cwd=training_project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = tmp_path / "work/steps.csv"
    while not (log.is_file() and len(log.read_text().splitlines()) > 3):
        assert process.poll() is None
        time.sleep(0.05)
    workers = [int(pid) for pid in children(process.pid)]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert process.wait(timeout=60) != 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not (tmp_path / "model").exists()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_batch_that_processes_cannot_divide_is_refused_at_once(training_project: Path, job: Job) -> None:
    with pytest.raises(InvalidParams, match=r"batch_size is 16, which 3 processes cannot divide evenly"):
        run.run(job, Group(0, 3, torch.device("cpu")))


def test_features_of_another_backbone_are_refused(job: Job, tmp_path: Path) -> None:
    write_pairs(tmp_path / "foreign", (200,), backbone="xyz")
    with pytest.raises(BackboneMismatch, match="features of backbone xyz"):
        run.run(replace(job, features=tmp_path / "foreign"), ALONE)


def test_a_check_without_classes_is_refused_before_training(job: Job) -> None:
    with pytest.raises(InvalidData, match=r"dingbats has no classes.*train\.check\.id"):
        run.run(replace(job, id_features=job.ood_features), ALONE)
    assert not job.work.exists()
