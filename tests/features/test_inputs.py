"""Batches of pixels: order, what cannot be read, how far ahead, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clipn.data import images
from clipn.data.manifest import Entry
from clipn.features.encode import describe
from clipn.features.inputs import BATCHES_AHEAD, Loader, Sample, read
from clipn.models.backbone import Backbone
from clipn.utils.progress import Phases
from tests.features.test_encode import PARAMS, clip, folder_of, one_task, png

__all__ = ["clip"]  # the fixture


def loader(clip: Backbone, kind: str = "evaluation", workers: int = 2) -> Loader:
    meta = describe(clip, PARAMS, kind)
    return Loader(clip, meta, PARAMS, workers=workers, phases=Phases())


def samples(count: int) -> list[Sample]:
    return [(Entry(f"{i:04d}", f"{i}.png", caption=f"picture {i}"), png(i)) for i in range(count)]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_batches_are_in_order_and_hold_what_preprocessing_gives(clip: Backbone, workers: int) -> None:
    given = samples(10)
    batches = list(loader(clip, workers=workers).batches(given))
    assert [[entry.key for entry in batch.entries] for batch in batches] == [
        [f"{i:04d}" for i in rows] for rows in (range(4), range(4, 8), range(8, 10))
    ]
    expected = torch.stack([clip.preprocess(images.decode(data, 10_000)) for _, data in given])
    torch.testing.assert_close(torch.cat([batch.pixels for batch in batches]), expected[:, None], rtol=0, atol=0)
    assert all(batch.tokens is None for batch in batches)


def test_captions_become_token_ids_of_the_same_rows(clip: Backbone) -> None:
    given = samples(4)
    given[1] = (given[1][0], b"no image")
    (batch,) = loader(clip, "training").batches(given)
    assert [entry.key for entry in batch.entries] == ["0000", "0002", "0003"]
    assert batch.unreadable == 1
    assert batch.tokens is not None
    torch.testing.assert_close(batch.tokens, clip.tokenize(["picture 0", "picture 2", "picture 3"]))
    torch.testing.assert_close(batch.pixels[1, 0], clip.preprocess(images.decode(given[2][1], 10_000)))


def test_a_batch_without_any_readable_image(clip: Backbone) -> None:
    (batch,) = loader(clip).batches([(entry, b"") for entry, _ in samples(3)])
    assert (len(batch.entries), len(batch.pixels), batch.unreadable) == (0, 0, 3)


def test_no_more_is_read_than_the_batches_ahead_need(clip: Backbone) -> None:
    taken = []

    def source() -> Iterator[Sample]:
        for sample in samples(100):
            taken.append(sample)
            yield sample

    batches = loader(clip).batches(source())
    next(batches)
    time.sleep(0.3)  # whoever would read on without a limit has time to
    # In the caller's hands, decoded or being decoded, waiting, and in the making.
    assert len(taken) <= PARAMS.batch_size * (1 + BATCHES_AHEAD + 2)
    before = threading.active_count()
    batches.close()
    assert threading.active_count() < before


def test_an_error_of_the_samples_is_raised_and_the_tower_keeps_its_threads(clip: Backbone) -> None:
    def source() -> Iterator[Sample]:
        yield from samples(4)
        raise OSError("the disk is gone")

    threads = torch.get_num_threads()
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader(clip).batches(source()))
    assert torch.get_num_threads() == threads


def test_images_that_the_manifest_does_not_list_are_left_out(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path, [png(i) for i in range(3)]), tmp_path / "out")
    assert [entry.key for entry, _ in read(task.tar, task.entries[1:])] == ["0001", "0002"]
