from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipn.data.captions import tables
from clipn.errors import InvalidData, MissingInput

WEB = "https://example.org/"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(rows[["url", "caption"]].itertuples(index=False, name=None))


def table(*rows: tuple[str | None, str | None], malformed: int = 0) -> tables.Table:
    return tables.Table(pd.DataFrame(rows, columns=["url", "caption"]), malformed)


@pytest.mark.parametrize("name", ["t.tsv", "t.TSV", "t.csv", "t.tsv.gz", "t.csv.gz"])
@pytest.mark.parametrize(
    "header",
    [("url", "caption"), ("Image_URL", "TEXT"), ("image", "Title"), (" filepath ", "alt"), ("path", "sentence")],
)
def test_text_tables_under_usual_names(tmp_path: Path, name: str, header: tuple[str, str]) -> None:
    comma = "," if "csv" in name else "\t"
    text = f"id{comma}{header[1]}{comma}{header[0]}\n7{comma}a cat{comma}a.jpg\n8{comma}ein Käfer{comma}b.jpg\n"
    path = write(tmp_path, name, text)
    tables.check(path)
    assert pairs(tables.read(path).rows) == [("a.jpg", "a cat"), ("b.jpg", "ein Käfer")]


def test_the_first_known_name_wins(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "image\tdescription\turl\tcaption\nlocal.png\tlong\thttp://x/y\tshort\n")
    assert pairs(tables.read(path).rows) == [("http://x/y", "short")]


def test_tsv_is_literal_and_csv_is_quoted(tmp_path: Path) -> None:
    tsv = write(tmp_path, "t.tsv", 'url\tcaption\na\t"quoted" and "open\nb\tnext, line\n')
    assert pairs(tables.read(tsv).rows) == [("a", '"quoted" and "open'), ("b", "next, line")]
    csv = write(tmp_path, "t.csv", 'url,caption\na,"one, ""two""\nand three"\n')
    assert pairs(tables.read(csv).rows) == [("a", 'one, "two"\nand three')]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "\ufeffurl\tcaption\r\na\tb\r\n")
    assert pairs(tables.read(path).rows) == [("a", "b")]


def test_numbers_stay_the_texts_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "url,caption\n007.png,1e3\nTrue,NaN\n")
    assert pairs(tables.read(path).rows) == [("007.png", "1e3"), ("True", "NaN")]


def test_lines_with_the_wrong_number_of_cells_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "url\tcaption\na\tb\tc\nonly\nd\te\n")
    read = tables.read(path)
    assert (pairs(read.rows), read.malformed) == ([("d", "e")], 2)


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "a very typical bus station\thttp://x/1\nsierra\thttp://x/2\n")
    tables.check(path, ["caption", "url"])
    read = tables.read(path, ["caption", "url"])
    assert pairs(read.rows) == [("http://x/1", "a very typical bus station"), ("http://x/2", "sierra")]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    captions = pa.array(["one", None, "one"]).dictionary_encode()
    pq.write_table(pa.table({"URL": ["a", "b", None], "TEXT": captions, "other": [1, 2, 3]}), path)
    tables.check(path)
    assert [(u, c) for u, c in pairs(tables.read(path).rows)] == [("a", "one"), ("b", None), (None, "one")]


@pytest.mark.parametrize("function", [tables.read, tables.check])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.tsv", b"", "cannot be read"),
        ("t.tsv", b"url\tcaption\n", "has no rows"),
        ("t.tsv", b"href\tcaption\na\tb\n", "columns href, caption; it needs one for the image"),
        ("t.csv", b"url\tcaption\na\tb\n", "columns url\tcaption"),
        ("t.tsv", b"url\tcaption\na\t\xff\xfe\n", "invalid UTF8"),
        ("t.tsv.gz", b"url\tcaption\na\tb\n", "cannot be read"),
        ("t.parquet", b"PAR1 not really PAR1", "cannot be read"),
        ("t.json", b"[]", "has to end in .tsv"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, function: object, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidData, match=message) as caught:
        function(path)  # type: ignore[operator]
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("function", [tables.read, tables.check])
def test_parquet_with_the_wrong_columns_or_no_rows(tmp_path: Path, function: object) -> None:
    path = tmp_path / "t.parquet"
    for columns, message in (
        ({"url": [["a"]], "caption": ["b"]}, "cannot be read"),
        ({"url": [], "text": []}, "no rows"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(InvalidData, match=message):
            function(path)  # type: ignore[operator]


@pytest.mark.parametrize("function", [tables.read, tables.check])
def test_a_file_that_does_not_exist_is_missing(tmp_path: Path, function: object) -> None:
    with pytest.raises(MissingInput, match=r"gone\.tsv does not exist"):
        function(tmp_path / "gone.tsv")  # type: ignore[operator]


def test_clean_drops_and_counts_by_reason(tmp_path: Path) -> None:
    cleaned = tables.clean(
        table(
            (WEB + "1", "one"),
            (" " + WEB + "1 ", " one\t"),  # the same once stripped
            (WEB + "1", "another text of the same image"),
            ("", "no address"),
            (WEB + "2", "   "),
            (None, "null"),
            (WEB + "3", None),
            ("ftp://example.org/a.jpg", "ftp"),
            ("file:///etc/passwd", "file"),
            ("HTTPS://EXAMPLE.ORG/4", "upper case"),
            malformed=3,
        ),
        tmp_path,
    )
    assert pairs(cleaned.rows) == [
        (WEB + "1", "one"),
        (WEB + "1", "another text of the same image"),
        ("HTTPS://EXAMPLE.ORG/4", "upper case"),
    ]
    assert cleaned.dropped == {"malformed": 3, "empty": 4, "unsupported_address": 2, "duplicate": 1, "over_limit": 0}
    assert (cleaned.local, cleaned.missing) == (0, 0)


def test_clean_makes_local_paths_absolute_and_counts_missing_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "b.png").touch()
    rows = table(("in/a.png", "1"), ("in/a.png", "2"), (str(tmp_path / "b.png"), "3"), ("gone.png", "4"), (WEB, "5"))
    cleaned = tables.clean(rows, tmp_path)
    a, b, gone = (str(tmp_path / name) for name in ("in/a.png", "b.png", "gone.png"))
    assert list(cleaned.rows["url"]) == [a, a, b, gone, WEB]
    assert (cleaned.local, cleaned.missing) == (4, 1)


def test_clean_keeps_the_first_good_rows_up_to_the_limit(tmp_path: Path) -> None:
    cleaned = tables.clean(table((None, "x"), *((f"{WEB}{i}", "x") for i in range(5))), tmp_path, limit=2)
    assert list(cleaned.rows["url"]) == [WEB + "0", WEB + "1"]
    assert cleaned.dropped["over_limit"] == 3


def test_clean_refuses_tables_of_which_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="no usable row is left"):
        tables.clean(table((None, "x"), ("ftp://a/b", "x")), tmp_path)
    with pytest.raises(
        MissingInput, match=r"none of the 2 local files that the table names exists, for example .*a\.png"
    ):
        tables.clean(table(("a.png", "x"), ("b.png", "x"), (WEB, "x")), tmp_path)
