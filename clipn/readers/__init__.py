"""Readers of evaluation sets: one for each kind of source.

A new one is a file with a context manager that takes a `Request` and yields a `Source`, an entry
below and its name in `clipn.config.SetParams`.
"""

from clipn.readers.base import Reader, Request, Source
from clipn.readers.cifar import open_cifar
from clipn.readers.digits import open_digits
from clipn.readers.folder import open_folder
from clipn.readers.layout import open_layout
from clipn.readers.stl10 import open_stl10
from clipn.readers.svhn import open_svhn
from clipn.readers.symbols import open_symbols
from clipn.readers.tar import open_tar
from clipn.readers.webdataset import open_webdataset

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
