"""1,797 scans of handwritten digits, 8 × 8 pixels, that ship inside scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from clipn.data.sets.readers.base import DIGITS, Request, Source, png


@contextmanager
def open_digits(request: Request) -> Iterator[Source]:
    """Grey levels of 0 to 16 stretched to 255, enlarged to the miniature world's size, as RGB."""
    from sklearn.datasets import load_digits  # takes a second, and only this reader needs it

    scans, labels = load_digits(return_X_y=True)
    order = np.argsort(labels, kind="stable")
    grey = (scans.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    size = (request.world.image_size, request.world.image_size)

    def read(i: int) -> bytes:
        image = Image.fromarray(grey[order[i]]).resize(size, Image.Resampling.BICUBIC)
        return png(np.asarray(image.convert("RGB")))

    yield Source(
        names=[f"{DIGITS[labels[i]]}/{i:04d}.png" for i in order],
        labels=[int(labels[i]) for i in order],
        classes=DIGITS,
        read=read,
    )
