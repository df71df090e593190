"""Street View House Numbers, cropped digits, from the publisher's MATLAB file.

SciPy's reader of such files can crash on one made for the purpose, so it is only given a registered
file whose checksum was found right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clipn.data.sets.readers.base import DIGITS, Request, Source, png
from clipn.errors import InvalidData


@contextmanager
def open_svhn(request: Request) -> Iterator[Source]:
    """Label 10 of the file is the digit zero."""
    from scipy import io  # takes a while, and only this reader needs it

    path = request.path
    try:
        content = io.loadmat(path, variable_names=["X", "y"])
    except (ValueError, NotImplementedError, OSError, io.matlab.MatReadError) as error:
        raise InvalidData(f"{path} is not a MATLAB 5 file: {error}") from error
    shapes = {name: content[name].shape for name in ("X", "y") if name in content}
    count = shapes.get("y", (0,))[0]
    if shapes != {"X": (32, 32, 3, count), "y": (count, 1)} or content["X"].dtype != "uint8":
        raise InvalidData(f"{path} has to hold X, uint8 of 32 x 32 x 3 x N, and y, N x 1; it has {shapes}")
    pixels, numbers = content["X"], content["y"][:, 0].tolist()
    if not set(numbers) <= set(range(1, 11)):
        raise InvalidData(f"{path}: labels have to be 1 to 10")
    yield Source(
        names=[f"{path.name}/{i:05d}" for i in range(count)],
        labels=[int(number) % 10 for number in numbers],
        classes=DIGITS,
        read=lambda i: png(pixels[..., i]),
    )
