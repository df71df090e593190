from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.data.captions import prepare
from clipn.data.download.rows import CaptionRows
from clipn.data.download.server import LoopbackServer
from clipn.data.download.shards import Row


@pytest.fixture
def rows(tmp_path: Path) -> CaptionRows:
    columns = [
        ["http://far.example/1", "images/2.png", "HTTPS://far.example/3", "/data/4.png"],
        ["one", "two", "three", "four"],
        [False, False, False, True],
    ]
    table = pa.table(dict(zip(prepare.SCHEMA.names, columns, strict=True)), schema=prepare.SCHEMA)
    pq.write_table(table, tmp_path / "captions.parquet")
    return CaptionRows(tmp_path / "captions.parquet")


def test_rows(rows: CaptionRows) -> None:
    assert len(rows) == 4
    assert rows[1] == Row("images/2.png", "two")
    assert [row.caption for row in rows[2:]] == ["three", "four"]


def test_local_files_are_served_and_others_left_where_they_are(rows: CaptionRows, tmp_path: Path) -> None:
    assert list(rows.files) == [tmp_path / "images/2.png", Path("/data/4.png")]
    assert rows.files[0:1] == [tmp_path / "images/2.png"]
    assert rows.flaky == {1}
    with LoopbackServer(rows.files, rows.flaky) as server:
        addresses = rows.addresses(server).to_pylist()
        assert addresses == ["http://far.example/1", server.address(0), "HTTPS://far.example/3", server.address(1)]
