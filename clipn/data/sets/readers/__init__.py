"""Readers of evaluation sets: one for each kind of source.

A new one is a file with a context manager that takes a `Request` and yields a `Source`, an entry
below and its name in `clipn.config.SetParams`.
"""

from clipn.data.sets.readers.base import Reader, Request, Source
from clipn.data.sets.readers.cifar import open_cifar
from clipn.data.sets.readers.digits import open_digits
from clipn.data.sets.readers.folder import open_folder
from clipn.data.sets.readers.layout import open_layout
from clipn.data.sets.readers.stl10 import open_stl10
from clipn.data.sets.readers.svhn import open_svhn
from clipn.data.sets.readers.symbols import open_symbols
from clipn.data.sets.readers.tar import open_tar
from clipn.data.sets.readers.webdataset import open_webdataset

READERS: dict[str, Reader] = {
    "symbols": open_symbols,
    "digits": open_digits,
    "folder": open_folder,
    "tar": open_tar,
    "webdataset": open_webdataset,
    "cifar": open_cifar,
    "svhn": open_svhn,
    "stl10": open_stl10,
    "layout": open_layout,
}

__all__ = ["READERS", "Reader", "Request", "Source"]
