"""Threads and processes give the same crops in the same order, and nothing is left of processes that were stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch

from clipn.data import tars
from clipn.data.verified import Located
from clipn.errors import InvalidData, WorkerLost
from clipn.features.crops import Decoder, decoder
from clipn.features.decode import Job, Processes, in_threads
from clipn.models.backbone import Backbone
from clipn.utils import processes
from tests.features.test_inputs import located, pngs
from tests.features.test_shards import PARAMS, clip
from tests.waiting import wait_until

__all__ = ["clip"]  # the fixture


@pytest.fixture
def made(clip: Backbone) -> Decoder:
    return decoder(clip, PARAMS.max_pixels, 2, (0.3, 0.6))


def jobs_of(images: list[Located]) -> list[Job]:
    return [images[start : start + 2] for start in range(0, len(images), 2)]


def workers() -> list[psutil.Process]:
    """The processes that decode: children of the server that this process forks instead of itself."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.ppid() != os.getpid() and processes.alive(child)]


def test_processes_give_what_threads_give_and_serve_one_tar_after_the_other(made: Decoder, tmp_path: Path) -> None:
    pool, seen, state = Processes(made, workers=2, ahead=4), set(), torch.get_rng_state()
    with closing(pool):
        for name, contents in (("a", [*pngs(6), b"no image", *pngs(2)]), ("b", pngs(3))):
            jobs = jobs_of(located(tmp_path / name, contents))
            expected = list(in_threads(made, jobs, workers=2, ahead=4))
            decoded = list(pool.decode(jobs))
            assert [part.readable for part in decoded] == [part.readable for part in expected]
            for part, other in zip(decoded, expected, strict=True):
                assert torch.equal(part.crops, other.crops)
                assert part.crops.shape[1:] == (3, 16, 16, 3)
                assert part.crops.is_shared()
            seen.update(worker.pid for worker in workers())
        assert len(seen) == 2
    wait_until(lambda: not workers())
    assert torch.equal(torch.get_rng_state(), state)


def test_processes_run_no_further_ahead_than_they_may(made: Decoder, tmp_path: Path) -> None:
    jobs, taken = jobs_of(located(tmp_path, pngs(40))), []

    def source() -> Iterator[Job]:
        for job in jobs:
            taken.append(job)
            yield job

    decoded = Processes(made, workers=2, ahead=6).decode(source())
    next(decoded)
    time.sleep(0.3)
    assert len(taken) <= 7
    decoded.close()
    assert not workers()


def test_an_image_that_was_exchanged_stops_the_processes_with_the_users_message(made: Decoder, tmp_path: Path) -> None:
    jobs = jobs_of(located(tmp_path, pngs(6)))
    tars.write(tmp_path / "images.tar", [(f"{i:04d}", {"png": data}) for i, data in enumerate([*pngs(5), pngs(5)[0]])])
    with pytest.raises(InvalidData) as error:
        list(Processes(made, workers=2, ahead=4).decode(jobs))
    assert str(error.value).startswith(f"{tmp_path}/images.tar: the image 0005 is not the one in the manifest; delete")
    assert not workers()


@pytest.mark.parametrize("good", [0, 3])
def test_an_error_of_the_jobs_comes_after_what_was_before_it(made: Decoder, tmp_path: Path, good: int) -> None:
    images = located(tmp_path, pngs(2))

    def source() -> Iterator[Job]:
        yield from [images] * good
        raise OSError("the disk is gone")

    decoded = Processes(made, workers=2, ahead=4).decode(source())
    assert [len(part.crops) for part in islice(decoded, good)] == [2] * good
    with pytest.raises(OSError, match="the disk is gone"):
        next(decoded)
    assert not workers()


def test_a_tar_that_is_gone_is_named(made: Decoder, tmp_path: Path) -> None:
    jobs = jobs_of(located(tmp_path, pngs(2)))
    (tmp_path / "images.tar").unlink()
    with pytest.raises(InvalidData, match=r"images\.tar is a damaged tar: .*No such file"):
        list(in_threads(made, jobs, workers=1, ahead=1))


def test_a_process_that_is_killed_is_noticed_and_the_others_end(made: Decoder, tmp_path: Path) -> None:
    images = located(tmp_path, pngs(4))

    def source() -> Iterator[Job]:
        while True:
            yield images

    pool = Processes(made, workers=2, ahead=4)
    decoded = pool.decode(source())
    next(decoded)
    workers()[0].send_signal(signal.SIGKILL)
    with pytest.raises(WorkerLost, match=r"one of the 2 processes .* was killed, .* Set CLIPN_WORKERS to fewer"):
        for _ in decoded:
            pass
    assert not workers()
    with closing(pool):  # and others can be started
        assert len(list(pool.decode([images]))) == 1


PARENT = """
import sys, time
from pathlib import Path
from clipn.data import manifest, verified
from clipn.features import crops, decode
from clipn.models import backbone

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    images = list(verified.locate(folder / "images.tar", manifest.read(folder / "manifest.parquet")))
    def jobs():
        while True:
            yield images
    pool = decode.Processes(crops.decoder(backbone.load(sys.argv[2]), 10_000), workers=2, ahead=4)
    decoded = pool.decode(jobs())
    next(decoded)
    print("ready", flush=True)
    for _ in decoded:
        time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_their_parent(clip: Backbone, tmp_path: Path, number: signal.Signals) -> None:
    located(tmp_path, pngs(4))
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path, tmp_path / "clip"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        family = processes.family(psutil.Process(parent.pid))
        assert len(family) >= 4  # two that decode and the server that they come from
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as the keyboard does
        else:
            parent.send_signal(number)
        _, errors = parent.communicate(timeout=20)
        wait_until(lambda: not any(map(processes.alive, family)))
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT), errors
    finally:
        processes.kill_group(parent)
