from __future__ import annotations

import re

import pytest

from clipn.errors import InvalidParams
from clipn.readers import READERS
from clipn.readers.registry import registered, registry


def test_the_file_says_all_that_is_needed() -> None:
    assert list(registry()) == [
        "digits", "cifar10", "cifar100", "svhn", "textures", "imagenet", "inaturalist", "sun", "places",
    ]  # fmt: skip
    for name, entry in registry().items():
        assert entry.reader in READERS, name
        assert entry.images > 0, name
        assert entry.licence, name
        assert not (entry.address and entry.environment), name
        if entry.address:
            assert re.fullmatch(r"[0-9a-f]{32}", entry.md5 or "") or re.fullmatch(r"[0-9a-f]{64}", entry.sha256 or "")


def test_archives_do_not_overwrite_each_other_in_the_cache() -> None:
    files = [entry.address.rpartition("/")[2] for entry in registry().values() if entry.address]
    assert len(files) == len(set(files)) == 7


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    assert registered("textures").prefix == "dtd/images"
    with pytest.raises(InvalidParams, match="no registered set 'mnist'; known: digits, cifar10"):
        registered("mnist")
