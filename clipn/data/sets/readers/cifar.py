"""CIFAR-10 and CIFAR-100 from the publisher's binary archives (not the pickles)."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from clipn.data.sets.readers import archive
from clipn.data.sets.readers.base import Request, Source, png
from clipn.errors import InvalidData

SIDE = 32
PIXELS = 3 * SIDE * SIDE

# File of class names → pattern of the files of images by split, label bytes of a record (the last one is the class).
LAYOUTS = {
    "batches.meta.txt": ({"test": "test_batch.bin", "train": "data_batch_?.bin"}, 1),
    "fine_label_names.txt": ({"test": "test.bin", "train": "train.bin"}, 2),
}


@contextmanager
def open_cifar(request: Request) -> Iterator[Source]:
    with archive.opened(request.path, request.scratch) as content:
        files = {name.rpartition("/")[2]: name for name in content.names}
        meta = next((name for name in LAYOUTS if name in files), None)
        patterns, label_bytes = LAYOUTS[meta] if meta else ({}, 0)
        parts = sorted(fnmatch.filter(files, patterns.get(request.layout.split, "")))
        if meta is None or not parts:
            raise InvalidData(f"{request.path} is not the binary version of CIFAR-10 or CIFAR-100")
        classes = content.read(files[meta]).decode("ascii", "replace").split()
        records_of = {part: _records(request, part, content.read(files[part]), label_bytes) for part in parts}
        records = np.concatenate(list(records_of.values()))
        labels = [int(label) for label in records[:, label_bytes - 1]]
        if labels and max(labels) >= len(classes):
            where = ", ".join(parts)
            raise InvalidData(f"{request.path}: {where} has the class {max(labels)}, but {meta} names {len(classes)}")

        def read(i: int) -> bytes:
            return png(records[i, label_bytes:].reshape(3, SIDE, SIDE).transpose(1, 2, 0))

        names = [f"{part}/{i:05d}" for part, rows in records_of.items() for i in range(len(rows))]
        yield Source(names, labels, classes, read)


def _records(request: Request, part: str, content: bytes, label_bytes: int) -> NDArray[np.uint8]:
    data = np.frombuffer(content, np.uint8)
    if len(data) % (label_bytes + PIXELS):
        raise InvalidData(f"{request.path}: {part} has {len(data)} bytes, no multiple of {label_bytes + PIXELS}")
    return data.reshape(-1, label_bytes + PIXELS)
