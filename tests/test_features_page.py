"""Shards open in other tools, as docs/features.md says: its examples are run here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipn.features.store import METADATA_KEY, ROW_GROUP, FeatureBatch, FeatureMeta, write_shard
from clipn.features.tokens import TokenLists
from tests.conftest import ROOT

PAGE = (ROOT / "docs/features.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = ROW_GROUP + 3
META = FeatureMeta(8, "abc", "size=32", 20.0, "training", views=2, view_scale=(0.9, 1.0))


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The image features of a shard that lies where the examples look for it."""
    values = np.random.default_rng(0).normal(size=(4, ROWS, META.dim)).astype(np.float16)
    batch = FeatureBatch(
        [f"{row:05d}" for row in range(ROWS)],
        values[0],
        text=values[1],
        tokens=TokenLists.of([np.array([1, 2])] * ROWS),
        views=values[2:].swapaxes(0, 1),
    )
    with write_shard(tmp_path / "data/features/train/00000.parquet", META) as writer:
        writer.append(batch)
    monkeypatch.chdir(tmp_path)
    return values[0]


@pytest.mark.parametrize("tool", ["pyarrow", "pandas", "duckdb"])
def test_the_examples_give_the_matrix(tool: str, image: np.ndarray) -> None:
    pytest.importorskip(tool)
    (example,) = (text for text in EXAMPLES if f"import {tool}" in text)
    names: dict[str, Any] = {}
    exec(example, names)
    np.testing.assert_array_equal(names["matrix"], image)


def test_the_page_lists_every_column(image: np.ndarray) -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    evaluation = FeatureMeta(dim=8, backbone="abc", preprocess="", logit_scale=1.0, kind="evaluation",
                             pooled=12, patches=4)  # fmt: skip
    schema = pq.read_schema("data/features/train/00000.parquet")
    assert listed == {*schema.names, *evaluation.schema().names}
    assert json.loads(schema.metadata[METADATA_KEY])["backbone"] == "abc"
