"""Types of arrays, and vectors of unit norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def unit_norm(vectors: NDArray[np.floating]) -> Array:
    """Return vectors of any shape [..., D] as float32 of exactly unit norm.

    Rounding to float16 moves the norm by up to 1e-4, which is enough to push a cosine above 1 and the square root in
    CLIPN's text loss below 0. A zero vector has no direction and stays zero: that is what a patch is where nothing
    in a rectified feature map is active.
    """
    values = vectors.astype(np.float32)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    norm[norm == 0] = 1
    return values / norm
