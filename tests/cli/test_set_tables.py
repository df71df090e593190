"""Numbers of bytes in words; the tables themselves are tested in test_sets.py."""

from __future__ import annotations

import pytest

from clipn.cli.set_tables import size


@pytest.mark.parametrize(
    ("count", "words"), [(None, "?"), (0, "0.0 MB"), (170_052_171, "170.1 MB"), (1_250_000_000, "1.2 GB")]
)
def test_size(count: int | None, words: str) -> None:
    assert size(count) == words
