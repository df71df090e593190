from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits

from clipn.data.sets.readers import Request
from clipn.data.sets.readers.digits import open_digits
from tests.data.sets.readers.conftest import WORLD, pixels


def test_all_scans_in_order_of_their_digit(make_request: Callable[..., Request]) -> None:
    with open_digits(make_request("digits")) as source:
        assert len(source.names) == len(source.labels) == 1797
        assert list(source.labels) == sorted(load_digits().target)
        assert source.classes[7] == "digit seven"
        assert source.names[0] == "digit zero/0000.png"


def test_scans_are_enlarged_to_the_world_and_keep_their_shape(make_request: Callable[..., Request]) -> None:
    scans, labels = load_digits(return_X_y=True)
    first_three = int(np.flatnonzero(labels == 3)[0])
    with open_digits(make_request("digits")) as source:
        image = pixels(source.read(list(source.labels).index(3)))
    assert image.shape == (WORLD.image_size, WORLD.image_size, 3)
    cells = image[..., 0].reshape(8, WORLD.image_size // 8, 8, -1).mean(axis=(1, 3))
    assert np.corrcoef(cells.ravel(), scans[first_three])[0, 1] > 0.95
    assert (image == image[..., :1]).all()
