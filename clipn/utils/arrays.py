"""Types of arrays, and vectors of unit norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def unit_norm(vectors: NDArray[np.floating], keep_zeros: bool = False) -> Array:
    """Return vectors of any shape [..., D] as float32 of exactly unit norm.

    Rounding to float16 moves the norm by up to 1e-4, which is enough to push a cosine above 1 and the square root in
    CLIPN's text loss below 0.

    Args:
        vectors: of any float type.
        keep_zeros: leave a zero vector, which has no direction, as it is; else it becomes NaN, so that a broken
            feature is noticed. A patch is zero where nothing in a rectified feature map is active.
    """
    values = vectors.astype(np.float32)
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    if keep_zeros:
        norm[norm == 0] = 1
    return values / norm
