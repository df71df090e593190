from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.data import manifest
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput

ENTRIES = [
    Entry("b", "http://x/b", shard="1.tar", caption="ein Käfer", sha256="00ff", bytes=2**40, width=3, height=4),
    Entry("a", "http://x/a", status="failed_to_download", error="HTTP Error 404: Not Found"),
    Entry("d", "d.png", shard="0.tar", label=7),
    Entry("c", "c.png", shard="1.tar", label=0),
]
SORTED = sorted(ENTRIES, key=lambda entry: entry.key)


def test_entries_come_back_sorted_by_key(tmp_path: Path) -> None:
    manifest.write(tmp_path / "new" / "m.parquet", ENTRIES)
    assert manifest.read(tmp_path / "new" / "m.parquet") == SORTED


def test_order_of_writing_does_not_change_a_byte(tmp_path: Path) -> None:
    manifest.write(tmp_path / "1.parquet", ENTRIES)
    manifest.write(tmp_path / "2.parquet", iter(reversed(ENTRIES)))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_an_empty_manifest_is_one(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.parquet", [])
    assert manifest.read(tmp_path / "m.parquet") == []


def test_a_key_that_appears_twice_is_refused_and_the_earlier_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    manifest.write(path, ENTRIES)
    with pytest.raises(InvalidData, match="the key 'a' appears twice"):
        manifest.write(path, [*ENTRIES, Entry("a", "another")])
    assert manifest.read(path) == SORTED


def test_columns_are_described_in_the_file(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.parquet", ENTRIES)
    schema = pq.read_schema(tmp_path / "m.parquet")
    assert schema.equals(manifest.SCHEMA)
    assert schema.field("width").metadata[b"doc"] == b"pixels"


def test_files_that_are_no_manifest_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(MissingInput, match=r"m\.parquet does not exist"):
        manifest.read(path)
    path.write_bytes(b"key,url\n")
    with pytest.raises(InvalidData, match=r"m\.parquet is not a Parquet file"):
        manifest.read(path)
    pq.write_table(pa.table({"key": ["a"], "url": ["b"]}), path)
    with pytest.raises(InvalidData, match="is not a manifest: it has the columns key, url"):
        manifest.read(path)


def test_by_shard_keeps_good_entries_in_order() -> None:
    a, b, c, d = SORTED
    assert list(manifest.by_shard(SORTED).items()) == [("0.tar", [d]), ("1.tar", [b, c])]
    assert manifest.by_shard([a, Entry("e", "e.png", shard="2.tar", status="corrupt")]) == {}


def test_status_counts_start_with_the_most_frequent() -> None:
    counts = manifest.status_counts([Entry("1", "u", "lost"), *ENTRIES])
    assert list(counts.items()) == [("success", 3), ("lost", 1), ("failed_to_download", 1)]


def test_joined_parts_read_as_one_manifest(tmp_path: Path) -> None:
    entries = [Entry(key, f"http://x/{key}", caption=key) for key in ("1", "2", "3")]
    manifest.join(
        tmp_path / "m.parquet", [manifest.table(entries[:2]), manifest.table([]), manifest.table(entries[2:])]
    )
    assert manifest.read(tmp_path / "m.parquet") == entries


@pytest.mark.parametrize("keys", [["1", "1"], ["2", "1"]])
def test_parts_out_of_order_are_refused(tmp_path: Path, keys: list[str]) -> None:
    parts = [manifest.table([Entry(key, "http://x")]) for key in keys]
    with pytest.raises(InvalidData, match=rf"the key '{keys[1]}' comes after '{keys[0]}'"):
        manifest.join(tmp_path / "m.parquet", parts)
    assert list(tmp_path.iterdir()) == []
