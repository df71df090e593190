from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import savemat

from clipn.data.sets.readers import tables
from clipn.errors import InvalidData


def test_rows_are_the_lines_that_fit_as_a_whole() -> None:
    lines = ["# id class\n", "cat_1 3\r\n", "", "dog_2 4 x"]
    assert tables.rows(lines, r"(?P<stem>\S+) (?P<label>\d+)", "list") == [{"stem": "cat_1", "label": "3"}]
    with pytest.raises(InvalidData, match=r"^list has no line of the form .*is this the right file"):
        tables.rows(lines, r"(?P<stem>\d+)", "list")


IMAGES = [{"path": "b", "id": "1"}, {"path": "a", "id": "2"}, {"path": "c", "id": "1"}]


def test_join_keeps_the_order_of_images_and_drops_those_without_a_row() -> None:
    table = [{"id": "1", "class": "ant"}, {"id": "3", "class": "bee"}]
    assert tables.join(IMAGES, table, "list", complete=False) == [
        {"path": "b", "id": "1", "class": "ant"},
        {"path": "c", "id": "1", "class": "ant"},
    ]
    assert tables.join([], table, "list", complete=False) == []


def test_a_complete_list_needs_an_image_for_each_row() -> None:
    with pytest.raises(InvalidData, match="list lists 2 that have no image, the first is '3'"):
        tables.join(IMAGES, [{"id": "1"}, {"id": "4"}, {"id": "3"}], "list", complete=True)


def test_rows_that_contradict_each_other_are_refused() -> None:
    rows = [{"id": "1", "class": "ant"}, {"id": "1", "class": "ant"}]
    assert len(tables.join(IMAGES, rows, "list", complete=True)) == 2
    with pytest.raises(InvalidData, match="list has two rows for '1'"):
        tables.join(IMAGES, [*rows, {"id": "1", "class": "bee"}], "list", complete=False)


def test_text_that_is_none_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.text_lines("é\nb".encode(), "list") == ["é", "b"]
    with pytest.raises(InvalidData, match="list is not UTF-8"):
        tables.text_lines(b"\xff", "list")
    monkeypatch.setattr(tables, "MAX_LIST_BYTES", 3)
    with pytest.raises(InvalidData, match="list has 4 bytes, limit 3"):
        tables.text_lines(b"abcd", "list")


def matlab(**variables: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_a_vector_of_a_matlab_file(shape: tuple[int, int]) -> None:
    data = matlab(labels=np.array([7, 5, 7], np.uint8).reshape(shape), other=np.zeros(2))
    assert tables.matlab_lines(data, "labels", "x.mat") == ["1 7", "2 5", "3 7"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is not a MATLAB 5 file"),
        (b"<html>" * 100, "is not a MATLAB 5 file"),
        (matlab(other=np.zeros(2)), "has to hold 'labels', a vector"),
        (matlab(labels=np.ones((2, 2), int)), "has to hold 'labels', a vector of whole numbers"),
        (matlab(labels=np.ones(2)), "has to hold 'labels', a vector of whole numbers"),
        (matlab(labels=np.array(["a", 3], object)), "has to hold 'labels', a vector of whole numbers"),
    ],
)
def test_other_matlab_files_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidData, match=rf"^x\.mat {problem}"):
        tables.matlab_lines(data, "labels", "x.mat")
