"""CIFAR-10 and CIFAR-100 test images from the publisher's binary archives (not the pickles)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from clipn.errors import InvalidData
from clipn.readers import archive
from clipn.readers.base import Request, Source, png

SIDE = 32
PIXELS = 3 * SIDE * SIDE

# File of class names → file of test images, label bytes of a record (the last one is the class).
LAYOUTS = {"batches.meta.txt": ("test_batch.bin", 1), "fine_label_names.txt": ("test.bin", 2)}


@contextmanager
def open_cifar(request: Request) -> Iterator[Source]:
    with archive.opened(request.path, request.scratch) as content:
        files = {name.rpartition("/")[2]: name for name in content.names}
        meta = next((name for name in LAYOUTS if name in files), None)
        if meta is None or LAYOUTS[meta][0] not in files:
            raise InvalidData(f"{request.path} is not the binary version of CIFAR-10 or CIFAR-100")
        test, label_bytes = LAYOUTS[meta]
        classes = content.read(files[meta]).decode("ascii", "replace").split()
        data = np.frombuffer(content.read(files[test]), np.uint8)
        if len(data) % (label_bytes + PIXELS):
            raise InvalidData(f"{request.path}: {test} has {len(data)} bytes, no multiple of {label_bytes + PIXELS}")
        records = data.reshape(-1, label_bytes + PIXELS)
        labels = [int(label) for label in records[:, label_bytes - 1]]
        if labels and max(labels) >= len(classes):
            raise InvalidData(f"{request.path}: {test} has the class {max(labels)}, but {meta} names {len(classes)}")

        def read(i: int) -> bytes:
            return png(records[i, label_bytes:].reshape(3, SIDE, SIDE).transpose(1, 2, 0))

        yield Source([f"{test}/{i:05d}" for i in range(len(records))], labels, classes, read)
