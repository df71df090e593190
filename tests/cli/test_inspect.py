"""The command `clipn inspect`; what it says of each kind of file is tested in test_inspection.py."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.cli import main


def test_prints_a_line_for_the_file_and_each_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"MSP": [0.5]}), path)
    main.main(["inspect", str(path)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: Parquet file, 1 rows ")
    assert second == "  MSP: double"
    with pytest.raises(SystemExit, match="is no feature store; only a store has an index to compare with"):
        main.main(["inspect", str(path), "--verify"])
