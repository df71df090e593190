"""What rows of a store hold: the columns of each kind, choosing rows, and norms."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from clipn.features.rows import METADATA_KEY, FeatureBatch, FeatureMeta
from clipn.utils.arrays import unit_norm

META = FeatureMeta(4, "abc", "none", 100.0, "evaluation", classes=("ant", "bee"), pooled=6, patches=3)


def test_columns_and_their_widths_follow_the_kind() -> None:
    schema = META.schema()
    assert schema.names == ["key", "image", "label", "pooled", "patches"]
    widths = {name: schema.field(name).type for name in ("image", "pooled", "patches")}
    assert widths == {"image": pa.binary(8), "pooled": pa.binary(12), "patches": pa.binary(24)}
    training = FeatureMeta(4, "abc", "none", 100.0, "training", views=2, view_scale=(0.5, 1.0)).schema()
    assert training.names == ["key", "image", "text", "tokens", "views"]
    assert training.field("views").type == pa.binary(16)


def test_a_schema_says_what_its_numbers_are() -> None:
    stored = json.loads(META.schema().metadata[METADATA_KEY])
    assert (stored["dim"], stored["classes"], stored["dtype"], stored["normalised"]) == (
        4,
        ["ant", "bee"],
        "float16",
        True,
    )


def test_shapes_of_one_row() -> None:
    assert [META.vector_shape(column) for column in ("image", "pooled", "patches")] == [(4,), (6,), (3, 4)]


@pytest.mark.parametrize(("kind", "column"), [("training", "pooled"), ("training", "patches"), ("evaluation", "views")])
def test_columns_of_the_other_kind_are_refused(kind: str, column: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} features have no {column}"):
        replace(FeatureMeta(4, "abc", "none", 100.0, kind), **{column: 2})


def test_some_rows_in_an_order_of_ones_own() -> None:
    batch = FeatureBatch(list("abc"), np.arange(12).reshape(3, 4), label=np.array([5, 6, 7], np.int32))
    assert len(batch) == 3
    rows = batch.rows([2, 0, 2])
    assert rows.label is not None
    assert (rows.keys, rows.image[:, 0].tolist(), rows.label.tolist()) == (list("cac"), [8, 0, 8], [7, 5, 7])
    assert rows.pooled is None
    part = batch.rows(slice(1, 3))
    assert part.keys == ["b", "c"]
    assert np.shares_memory(part.image, batch.image)


def test_stored_features_get_their_norm_back() -> None:
    rng = np.random.default_rng(0).normal(size=(50, 64))
    stored = (rng / np.linalg.norm(rng, axis=1, keepdims=True)).astype(np.float16)
    features = unit_norm(stored)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features.astype(np.float64), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(features, stored, atol=1e-3)
