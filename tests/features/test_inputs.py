"""Batches of pixels: order, what cannot be read, how far ahead, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from clipn.data import images, verified
from clipn.data.verified import Located
from clipn.errors import InvalidData
from clipn.features.crops import colours, cropper, normaliser
from clipn.features.inputs import BATCHES_AHEAD, Loader, read_crops
from clipn.features.shards import describe
from clipn.models.backbone import Backbone
from clipn.utils.progress import Phases
from tests.features.test_shards import PARAMS, clip, folder_of, one_task, png
from tests.small_sets import PARAMS as SMALL
from tests.small_sets import picture, write_set

__all__ = ["clip"]  # the fixture


def loader(clip: Backbone, kind: str = "evaluation", workers: int = 2, processes: bool | None = None) -> Loader:
    return Loader(clip, describe(clip, PARAMS, kind), PARAMS, workers=workers, processes=processes)


def located(folder: Path, contents: list[bytes]) -> list[Located]:
    task = one_task(folder_of(folder, contents), folder / "out")
    return list(verified.locate(task.tar, task.entries))


def pngs(count: int) -> list[bytes]:
    return [png(i) for i in range(count)]


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (2, None), (7, False), (2, True)])
def test_batches_are_in_order_and_hold_what_preprocessing_gives(
    clip: Backbone, tmp_path: Path, workers: int, processes: bool | None
) -> None:
    given = pngs(10)
    phases = Phases()
    with closing(loader(clip, workers=workers, processes=processes)) as made:
        batches = list(made.batches(located(tmp_path / "set", given), phases))
    assert [[entry.key for entry in batch.entries] for batch in batches] == [
        [f"{i:04d}" for i in rows] for rows in (range(4), range(4, 8), range(8, 10))
    ]
    expected = torch.stack([clip.preprocess(images.decode(data, 10_000)) for data in given])
    pixels = torch.cat([batch.crops for batch in batches])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (10, 1, 16, 16, 3))
    torch.testing.assert_close(normaliser(clip)(colours(pixels[:, 0])), expected, rtol=0, atol=0)
    assert all(batch.tokens is None for batch in batches)
    assert set(phases.seconds()) == {"read", "decode"}


def test_captions_become_token_ids_of_the_same_rows(clip: Backbone, tmp_path: Path) -> None:
    (batch,) = loader(clip, "training").batches(located(tmp_path, [png(0), b"none", png(2), png(3)]), Phases())
    assert [entry.key for entry in batch.entries] == ["0000", "0002", "0003"]
    assert batch.unreadable == 1
    assert batch.tokens is not None
    torch.testing.assert_close(batch.tokens, clip.tokenize([f"picture {key}" for key in ("0000", "0002", "0003")]))
    assert (batch.crops[1, 0].numpy() == cropper(clip)(images.decode(png(2), 10_000))).all()


def test_a_batch_without_any_readable_image(clip: Backbone, tmp_path: Path) -> None:
    (batch,) = loader(clip).batches(located(tmp_path, [b"no", b"image", b"here"]), Phases())
    assert (len(batch.entries), len(batch.crops), batch.unreadable) == (0, 0, 3)


def test_no_more_is_read_than_the_batches_ahead_need(clip: Backbone, tmp_path: Path) -> None:
    taken = []

    def source() -> Iterator[Located]:
        for image in located(tmp_path, pngs(100)):
            taken.append(image)
            yield image

    batches = loader(clip).batches(source(), Phases())
    next(batches)
    time.sleep(0.3)  # whoever would read on without a limit has time to
    # In the caller's hands, decoded or being decoded, waiting, and in the making.
    assert len(taken) <= PARAMS.batch_size * (1 + BATCHES_AHEAD + 2)
    before = threading.active_count()
    batches.close()
    assert threading.active_count() < before


def test_an_error_of_the_images_is_raised_and_the_tower_keeps_its_threads(clip: Backbone, tmp_path: Path) -> None:
    def source() -> Iterator[Located]:
        yield from located(tmp_path, pngs(4))
        raise OSError("the disk is gone")

    threads = torch.get_num_threads()
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader(clip).batches(source(), Phases()))
    assert torch.get_num_threads() == threads


def test_crops_of_a_set_come_in_the_order_of_the_keys(clip: Backbone, tmp_path: Path) -> None:
    images = write_set(tmp_path / "set", clip, [picture(i) for i in range(4)])
    found = read_crops(images, ["00000003", "00000001", "00000003"], clip, SMALL.max_pixels, workers=2)
    crop = cropper(clip)
    assert (found == np.stack([crop(picture(i)) for i in (3, 1, 3)])).all()
    with pytest.raises(InvalidData, match=r"the image 00000001 cannot be decoded any more.*max_pixels = 1;"):
        read_crops(images, ["00000001"], clip, 1)
