from __future__ import annotations

import re

import pytest

from clipn.data.sets import class_names
from clipn.data.sets.readers import READERS
from clipn.data.sets.registry import FOLDER, File, Registered, registered, registry
from clipn.errors import InvalidParams
from tests.conftest import ROOT

ENTRIES = list(registry().items())


def test_every_file_of_the_folder_is_a_set() -> None:
    assert [f"{name}.yaml" for name in registry()] == sorted(path.name for path in (ROOT / FOLDER).iterdir())
    assert {"imagenet", "imagenet100", "cifar10", "ninco", "flowers102", "places365"} <= registry().keys()


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_an_entry_says_all_that_is_needed(name: str, entry: Registered) -> None:
    assert entry.reader in READERS
    assert entry.images > 0
    assert entry.licence
    assert entry.evidence
    assert entry.class_names in class_names.SPECS
    assert bool(entry.files) + bool(entry.environment) == (name != "digits")
    assert not (entry.environment and not entry.notes), "how to obtain it"
    for file in entry.files:
        assert re.fullmatch(r"[0-9a-f]{32}", file.md5 or "") or re.fullmatch(r"[0-9a-f]{64}", file.sha256 or "")
    known = {*Registered.__dataclass_fields__, *File.__dataclass_fields__}
    assert set(entry.unverified) <= known
    assert ("bytes" in entry.unverified) or not entry.files or entry.bytes


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_layouts_name_columns_that_can_be_joined(name: str, entry: Registered) -> None:
    columns = set(re.compile(entry.layout.images).groupindex)
    for table in entry.layout.tables:
        new = set(re.compile(table.columns).groupindex)
        assert columns & new, (name, table.columns)
        columns |= new
        assert table.file < max(len(entry.files), 1)
    assert "class" in columns
    assert not entry.layout.tables or entry.reader == "layout"


def test_archives_do_not_overwrite_each_other_in_the_cache() -> None:
    by_name: dict[str, File] = {}
    for entry in registry().values():
        for file in entry.files:
            assert by_name.setdefault(file.local, file) == file
    assert {"stanford_dogs_images.tar", "pets_images.tar.gz", "LSUN_resize.tar.gz"} <= by_name.keys()


def test_the_size_of_a_set_is_known_if_that_of_each_file_is() -> None:
    assert registered("flowers102").bytes == 344862509 + 502 + 14989
    assert registered("sun").bytes is None
    assert registered("imagenet").bytes is None


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    assert registered("textures").layout.prefix == "dtd/images"
    with pytest.raises(InvalidParams, match="no registered set 'mnist'; known: cifar10, cifar100"):
        registered("mnist")
