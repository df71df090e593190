"""`clipn inspect` on each kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.cli.inspection import describe
from clipn.data import manifest
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, MissingInput
from clipn.features.store import FeatureBatch, FeatureMeta, write_index, write_shard
from clipn.features.tokens import TokenLists
from clipn.prompts import words
from clipn.scores.word_features import WordFeatures
from clipn.utils.files import sha256

META = FeatureMeta(2, "abc", "size=32", 20.0, "evaluation", ("sun", "moon"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "00000.parquet"
    with write_shard(path, META) as writer:
        writer.append(FeatureBatch(["a"], np.eye(2, dtype=np.float32)[:1], label=np.zeros(1, np.int32)))
    write_index(tmp_path, [path])
    return tmp_path


def test_a_store_and_a_shard(store: Path) -> None:
    text = "\n".join(describe(store))
    assert f"feature store, 1 rows in 1 shards, {(store / '00000.parquet').stat().st_size:,} bytes" in text
    assert "evaluation features: 2 numbers, float16, unit norm" in text
    assert "2 classes: sun, moon" in text
    assert "  keys: a" in text
    assert "  images a class: 0 to 1" in text
    shard = "\n".join(describe(store / "00000.parquet"))
    assert "feature shard, 1 rows in 1 row group," in shard
    assert "image: fixed_size_binary[4]" in shard
    assert "backbone abc, logit scale 20" in shard


def test_views_are_named(tmp_path: Path) -> None:
    meta = FeatureMeta(2, "abc", "size=32", 20.0, "training", views=4, view_scale=(0.9, 1.0))
    with write_shard(tmp_path / "a.parquet", meta):
        pass
    assert "  4 random views an image, of 0.9 to 1 of its area" in describe(tmp_path / "a.parquet")


def test_training_features(tmp_path: Path) -> None:
    meta = FeatureMeta(2, "abc", "size=32", 20.0, "training")
    image = np.eye(2, dtype=np.float32)[[0] * 7]
    tokens = TokenLists.of([np.arange(3)] * 6 + [np.arange(10)])
    with write_shard(tmp_path / "a.parquet", meta) as writer:
        writer.append(FeatureBatch([str(row) for row in range(7)], image, text=image, tokens=tokens))
    lines = list(describe(tmp_path / "a.parquet"))
    assert "  keys: 0, 1, 2, 3, 4 …" in lines
    assert "  captions of 3 to 10 tokens, 4.0 on average" in lines


def test_a_damaged_shard_is_named(store: Path) -> None:
    path = store / "00000.parquet"
    content = bytearray(path.read_bytes())
    content[4:30] = bytes(26)
    path.write_bytes(content)
    with pytest.raises(InvalidData, match="is damaged"):
        list(describe(store))


def test_verify_finds_a_shard_that_changed(store: Path) -> None:
    assert "  all shards are those that the index lists" in describe(store, verify=True)
    index = store / "index.json"
    index.write_text(index.read_text().replace(sha256(store / "00000.parquet"), "0" * 64))
    with pytest.raises(InvalidData, match=r"00000\.parquet is not the shard that index\.json lists"):
        list(describe(store, verify=True))
    with pytest.raises(InvalidData, match="is no feature store"):
        list(describe(store / "00000.parquet", verify=True))


def test_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    good = Entry("1", "http://a", shard="0.tar", label=3, caption="a", bytes=1200, width=40, height=30)
    manifest.write(path, [good, Entry("2", "http://b", status="failed_to_download")])
    lines = list(describe(path))
    assert lines[0].startswith(f"{path}: manifest, 2 rows in 1 row group, ")
    assert "  good images in 1 tars, 1,200 bytes" in lines
    assert "  shorter side: 30 pixels" in lines
    assert "  1 with a caption" in lines
    assert "  1 with a label, 1 classes, images a class: 1" in lines
    assert "  keys: 1, 2" in lines
    assert "  1 × success" in lines
    assert "  1 × failed_to_download" in lines
    assert any(line.startswith("  sha256: string  (of the image file") for line in lines)


def test_any_other_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"MSP": [0.5, 0.25]}), tmp_path / "scores.parquet")
    first, second = describe(tmp_path / "scores.parquet")
    assert "Parquet file, 2 rows in 1 row group," in first
    assert second == "  MSP: double"


def test_word_features(tmp_path: Path) -> None:
    features = np.eye(2, 4, dtype=np.float32)
    words.write(tmp_path / "words.parquet", WordFeatures(("a", "b"), ("noun",) * 2, ("x",) * 2, features), "abc")
    first, *columns = describe(tmp_path / "words.parquet")
    assert "word features, 2 rows in 1 row group," in first
    assert [line.split(":")[0].strip() for line in columns] == ["entry", "kind", "topic", "feature"]


def test_what_cannot_be_inspected(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InvalidData, match="no Parquet file"):
        list(describe(tmp_path / "a.parquet"))
    with pytest.raises(InvalidData, match=r"folder without index\.json"):
        list(describe(tmp_path))
    with pytest.raises(MissingInput, match="does not exist"):
        list(describe(tmp_path / "nothing"))
