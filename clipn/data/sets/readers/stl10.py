"""STL-10 test images from the publisher's binary archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from clipn.data.sets.readers import archive
from clipn.data.sets.readers.base import Request, Source, png
from clipn.errors import InvalidData

SIDE = 96
PIXELS = 3 * SIDE * SIDE
IMAGES, LABELS, CLASSES = "test_X.bin", "test_y.bin", "class_names.txt"


@contextmanager
def open_stl10(request: Request) -> Iterator[Source]:
    """Each image is stored channel by channel and column by column; labels count from 1."""
    with archive.opened(request.path, request.scratch) as content:
        files = {name.rpartition("/")[2]: name for name in content.names}
        if missing := {IMAGES, LABELS, CLASSES} - files.keys():
            raise InvalidData(f"{request.path} is not the binary version of STL-10: it lacks {', '.join(missing)}")
        classes = content.read(files[CLASSES]).decode("ascii", "replace").split()
        pixels = np.frombuffer(content.read(files[IMAGES]), np.uint8)
        numbers = np.frombuffer(content.read(files[LABELS]), np.uint8)
        if len(pixels) != PIXELS * len(numbers):
            raise InvalidData(
                f"{request.path}: {IMAGES} has {len(pixels)} bytes, but the {len(numbers)} labels "
                f"call for {PIXELS * len(numbers)}"
            )
        if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= len(classes):
            raise InvalidData(f"{request.path}: labels have to be 1 to {len(classes)}, the names in {CLASSES}")
        images = pixels.reshape(-1, 3, SIDE, SIDE)

        def read(i: int) -> bytes:
            return png(np.ascontiguousarray(images[i].transpose(2, 1, 0)))

        yield Source([f"{IMAGES}/{i:05d}" for i in range(len(images))], (numbers - 1).tolist(), classes, read)
