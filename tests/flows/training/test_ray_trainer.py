"""Training on a cluster that is only played: what starts again, what ends, and what is an error."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from clipn.errors import ClipnError, InvalidParams
from flows.ray import cluster
from flows.ray.cluster import Node
from flows.runtime import machine
from flows.training import ray_trainer
from flows.training.ray_process import Output
from flows.training.ray_trainer import RayTrainer

CPUS = Node("1", "one (10.0.0.1)", "one", cpus=4, gpus=0)
GPUS = Node("2", "two (10.0.0.2)", "two", cpus=8, gpus=2)


class Actor:
    """Plays a process beside a training process.

    Args:
        outputs: what it answers, one after the other; the last one again and again. None does not answer.
    """

    def __init__(self, *outputs: Output | None) -> None:
        self.outputs, self.signals = list(outputs), list[int]()
        self.poll = SimpleNamespace(remote=lambda: self)
        self.signal = SimpleNamespace(remote=self.signals.append)

    def answer(self) -> Output:
        output = self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]
        if output is None:
            raise GetTimeoutError("no answer\nand more")
        return output


class Log:
    """Plays the flow run's logger."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    info = warning


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(ray_trainer, "get_run_logger", lambda: log)
    return log


@pytest.fixture
def trainer(log: Log, monkeypatch: pytest.MonkeyPatch) -> RayTrainer:
    def get(refs: Any, timeout: float) -> Any:
        return [ref.answer() for ref in refs] if isinstance(refs, list) else refs.answer()

    ray = SimpleNamespace(get=get, wait=lambda *_, **__: None, kill=lambda actor: actor.signals.append(0))
    monkeypatch.setattr(ray_trainer, "ray", ray)
    monkeypatch.setattr(ray_trainer, "LOG_SECONDS", 0)
    monkeypatch.setattr(cluster, "nodes", lambda: [CPUS])
    monkeypatch.setattr(cluster, "DOUBT_SECONDS", 0)
    monkeypatch.setenv("CLIPN_PROCESSES", "2")
    monkeypatch.setenv("CLIPN_DEVICE", "cpu")
    return RayTrainer(["0"], batch_size=16)


def place(trainer: RayTrainer, monkeypatch: pytest.MonkeyPatch, *groups: list[Actor]) -> None:
    """Let the trainer's next starts find these actors."""
    waiting = list(groups)
    monkeypatch.setattr(trainer, "_place", lambda: setattr(trainer, "_actors", waiting.pop(0)))
    trainer.start()


def test_it_ends_well_when_all_processes_do(trainer: RayTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    place(trainer, monkeypatch, [Actor(Output(None, []), Output(0, [])), Actor(Output(0, []))])
    assert trainer.running()
    assert not trainer.running()
    trainer.check()


def test_a_failure_is_told_in_the_command_s_own_words(
    trainer: RayTrainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    actors = [Actor(Output(1, ["a line", "error: bad features"]), Output(1, [])), Actor(Output(None, []))]
    place(trainer, monkeypatch, actors)
    assert not trainer.running()
    with pytest.raises(ClipnError, match=r"^training failed: bad features$"):
        trainer.check()
    assert capsys.readouterr().err == "a line\nerror: bad features\n"


def test_it_starts_again_with_fewer_processes_after_a_loss(
    trainer: RayTrainer, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [Actor(None), Actor(Output(None, []), Output(0, []))]
    place(trainer, monkeypatch, lost, [Actor(Output(0, []))])
    monkeypatch.setattr(cluster, "nodes", lambda: [Node("3", "three", "three", cpus=1, gpus=0)])
    assert trainer.running()
    assert trainer.processes == 1
    assert [actor.signals for actor in lost] == [[signal.SIGTERM, 0], [signal.SIGTERM, 0]]
    assert log.lines == ["Lost node one (10.0.0.1); training starts again from its last checkpoint with 1 processes"]
    assert not trainer.running()


def test_it_gives_up_after_some_losses(trainer: RayTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    place(trainer, monkeypatch, *([Actor(None), Actor(None)] for _ in range(1 + ray_trainer.LOSSES)))
    for _ in range(ray_trainer.LOSSES):
        assert trainer.running()
    with pytest.raises(ClipnError, match=r"lost processes of its group 4 times, .* so: no answer; run again"):
        trainer.running()


def test_what_does_not_end_is_killed(trainer: RayTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    good, stubborn = Actor(Output(0, [])), Actor(Output(None, []))
    place(trainer, monkeypatch, [good, stubborn])
    trainer.stop(patience=0.2)
    assert good.signals == [signal.SIGTERM, 0]
    assert stubborn.signals == [signal.SIGTERM, signal.SIGKILL, 0]
    trainer.stop()  # nothing is left to end


def test_one_process_for_each_gpu_unless_a_number_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPN_PROCESSES", raising=False)
    assert ray_trainer._wanted([CPUS, GPUS], "cuda") == 2
    assert ray_trainer._wanted([CPUS, GPUS], "cpu") == 1
    monkeypatch.setenv("CLIPN_PROCESSES", "3")
    assert ray_trainer._wanted([CPUS], "cpu") == machine.processes("cpu") == 3
    monkeypatch.setenv("CLIPN_PROCESSES", "none")
    with pytest.raises(InvalidParams, match="CLIPN_PROCESSES=none has to be a whole number"):
        ray_trainer._wanted([CPUS], "cpu")


@pytest.mark.parametrize(("processes", "cpus", "batch", "count"), [(4, 8, 16, 4), (4, 3, 16, 2), (3, 8, 16, 2)])
def test_as_many_go_on_as_fit_and_divide_the_batch(processes: int, cpus: int, batch: int, count: int) -> None:
    assert ray_trainer.possible([Node("1", "one", "one", cpus, 0)], processes, "cpu", batch) == count
