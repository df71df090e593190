"""Lists that come with published images, joined to them column by column."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clipn.errors import InvalidData

MAX_LIST_BYTES = 64 * 2**20
Row = Mapping[str, str]


def rows(lines: Iterable[str], columns: str, origin: str) -> list[Row]:
    """Return the named groups of every line that `columns` matches as a whole; other lines are no rows.

    Args:
        lines: with or without line ends.
        columns: a regular expression with named groups.
        origin: of the lines, for messages.

    Raises:
        InvalidData: no line fits.
    """
    pattern = re.compile(columns)
    matches = (pattern.fullmatch(line.rstrip()) for line in lines)
    rows: list[Row] = [match.groupdict() for match in matches if match]
    if not rows:
        raise InvalidData(f"{origin} has no line of the form {columns}; is this the right file?")
    return rows


def join(images: Sequence[Row], table: Sequence[Row], origin: str, *, complete: bool) -> list[Row]:
    """Return each image's row with the columns of the table's row that agrees in all columns that both have.

    Images without such a row are left out.

    Args:
        images: rows of images.
        table: rows of a list.
        origin: of the list, for messages.
        complete: whether every row of the table has to find an image.

    Raises:
        InvalidData: two rows of the table for the same image, or a row without an image.
    """
    if not images:
        return []
    shared = sorted(images[0].keys() & table[0].keys())
    by_key: dict[tuple[str, ...], Row] = {}
    for row in table:
        key = tuple(row[column] for column in shared)
        if by_key.setdefault(key, row) != row:
            raise InvalidData(f"{origin} has two rows for {' '.join(key)!r}")
    keys = [tuple(image[column] for column in shared) for image in images]
    if complete and (lost := by_key.keys() - set(keys)):
        raise InvalidData(f"{origin} lists {len(lost)} that have no image, the first is {' '.join(min(lost))!r}")
    return [{**image, **by_key[key]} for image, key in zip(images, keys, strict=True) if key in by_key]


def text_lines(data: bytes, origin: str) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InvalidData: it is no UTF-8 text, or too large for a list.
    """
    if len(data) > MAX_LIST_BYTES:
        raise InvalidData(f"{origin} has {len(data)} bytes, limit {MAX_LIST_BYTES}")
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidData(f"{origin} is not UTF-8 text: {error}") from error


def matlab_lines(data: bytes, variable: str, origin: str) -> list[str]:
    """`POSITION VALUE` for each value of a vector of whole numbers in a MATLAB 5 file, counted from 1.

    SciPy's reader of such files can crash on one made for the purpose: only give it a file whose checksum was right.

    Raises:
        InvalidData: it is no such file, or has no such vector.
    """
    from scipy import io as scipy_io  # takes a while, and few sets need it

    try:
        content = scipy_io.loadmat(io.BytesIO(data), variable_names=[variable])
    except (ValueError, NotImplementedError, OSError, scipy_io.matlab.MatReadError) as error:
        raise InvalidData(f"{origin} is not a MATLAB 5 file: {error}") from error
    values = content.get(variable, np.empty(0))
    if values.size != max(values.shape) or values.dtype.kind not in "ui":
        raise InvalidData(f"{origin} has to hold {variable!r}, a vector of whole numbers")
    return [f"{i} {value}" for i, value in enumerate(values.ravel().tolist(), 1)]
