from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipn.config import CaptionsParams, WorldParams
from clipn.data import miniature
from clipn.data.captions.prepare import NOT_AN_IMAGE, _cc3m, check_captions, prepare_captions
from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from clipn.utils.progress import Progress, silent

WORLD = WorldParams(image_size=24, noise=20.0, rotation=10.0, seed=3)
SYMBOLS = CaptionsParams("symbols", "x.tsv", "x.tsv", images_per_symbol=1, missing=0.05, corrupt=0.1, flaky=0.2)


def read(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "captions.parquet").to_pylist()


def content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def state(path: Path) -> str:
    if not path.exists():
        return "missing"
    try:
        Image.open(io.BytesIO(path.read_bytes())).load()
    except OSError:
        return "corrupt"
    return "good"


def prepare(params: CaptionsParams, world: WorldParams, out: Path, progress: Progress = silent) -> dict[str, Any]:
    """The stage with a cache beside its output."""
    return prepare_captions(params, world, out, cache=out.parent / "cache", progress=progress)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[tuple[int, int]]]:
    """The folder and the report of `prepare` on the miniature world, and its progress."""
    folder = tmp_path_factory.mktemp("captions") / "out"
    steps: list[tuple[int, int]] = []
    report = prepare(SYMBOLS, WORLD, folder, lambda done, total: steps.append((done, total)))
    return folder, report, steps


def test_symbols_have_the_given_shares_of_bad_links(world: tuple[Path, dict[str, Any], Any]) -> None:
    folder, report, _ = world
    rows = read(folder)
    total = len(miniature.symbols())
    states = [state(folder / row["url"]) for row in rows]
    assert len(rows) == total
    assert Counter(states) == {"missing": round(0.05 * total), "corrupt": 23, "good": 194}
    assert Counter(s for s, row in zip(states, rows, strict=True) if row["flaky"]) == {"good": 46}
    assert report["made"] == {"missing": 11, "corrupt": 23, "flaky": 46}
    assert (report["source"], report["counts"]["in"], report["counts"]["out"]) == ("symbols", total, total)


def test_corrupt_files_are_both_web_pages_and_cut_images(world: tuple[Path, Any, Any]) -> None:
    folder, _, _ = world
    corrupt = [f for f in (folder / "images").iterdir() if state(f) == "corrupt"]
    starts = {f.read_bytes()[:4] for f in corrupt}
    assert starts == {b"\x89PNG", NOT_AN_IMAGE[:4]}


def test_every_symbol_is_captioned_by_its_name_in_mixed_order(world: tuple[Path, Any, Any]) -> None:
    names = [symbol.name for symbol in miniature.symbols()]
    longest_first = sorted(set(names), key=len, reverse=True)
    found = [next(n for n in longest_first if n in row["caption"]) for row in read(world[0])]
    assert Counter(found) == Counter(names)
    assert found != names


def test_images_are_lossless_and_of_the_given_size(world: tuple[Path, Any, Any]) -> None:
    folder, _, _ = world
    good = next(f for f in sorted((folder / "images").iterdir()) if state(f) == "good")
    with Image.open(good) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (24, 24), "RGB")


def test_progress_ends_at_the_total(world: tuple[Path, Any, list[tuple[int, int]]]) -> None:
    total = len(miniature.symbols())
    assert world[2] == [(i + 1, total) for i in range(total)]


def test_equal_params_give_equal_bytes_anywhere(world: tuple[Path, Any, Any], tmp_path: Path) -> None:
    prepare(SYMBOLS, WORLD, tmp_path / "elsewhere" / "deep")
    assert content(tmp_path / "elsewhere" / "deep") == content(world[0])


def test_another_seed_gives_other_pictures(world: tuple[Path, Any, Any], tmp_path: Path) -> None:
    prepare(SYMBOLS, WorldParams(image_size=24, noise=20.0, rotation=10.0, seed=4), tmp_path / "out")
    ours, theirs = content(tmp_path / "out"), content(world[0])
    assert not set(ours.values()) & set(theirs.values()) - {NOT_AN_IMAGE}


def test_limit_cuts_the_world_before_it_is_drawn(tmp_path: Path) -> None:
    report = prepare(CaptionsParams("symbols", "x", "x", limit=5, images_per_symbol=2), WORLD, tmp_path / "out")
    assert len(read(tmp_path / "out")) == len(list((tmp_path / "out" / "images").iterdir())) == 5
    assert report["counts"]["dropped"] == {"over_limit": 2 * len(miniature.symbols()) - 5}


def test_shares_of_more_than_one_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    params = CaptionsParams("symbols", "x", "x", missing=0.5, corrupt=0.4, flaky=0.2)
    for function in (lambda: check_captions(params), lambda: prepare(params, WORLD, tmp_path / "out")):
        with pytest.raises(InvalidParams, match=r"missing \+ corrupt \+ flaky is 1.1"):
            function()
    assert not (tmp_path / "out").exists()


def test_table(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    path = tmp_path / "list.tsv"
    path.write_text("image\tcaption\na.png\tone\nb.png\ttwo\nb.png\t\nhttp://x/y\tthree\nhttp://x/y\tthree\n")
    report = prepare(CaptionsParams("table", str(path), str(tmp_path)), WORLD, tmp_path / "out")
    assert read(tmp_path / "out") == [
        {"url": str(tmp_path / "a.png"), "caption": "one", "flaky": False},
        {"url": str(tmp_path / "b.png"), "caption": "two", "flaky": False},
        {"url": "http://x/y", "caption": "three", "flaky": False},
    ]
    assert (report["counts"]["in"], report["counts"]["out"], report["local_files"], report["local_files_missing"]) == (
        5,
        3,
        2,
        1,
    )
    assert {reason: n for reason, n in report["counts"]["dropped"].items() if n} == {"empty": 1, "duplicate": 1}


def test_photographs_that_nobody_watches_are_refused(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "a.png").touch()
    (tmp_path / "here/b.png").symlink_to(tmp_path / "a.png")
    path = tmp_path / "here/list.tsv"
    path.write_text("image\tcaption\nb.png\tone\n")
    assert prepare(CaptionsParams("table", str(path), str(path.parent)), WORLD, tmp_path / "out")["local_files"] == 1
    with pytest.raises(InvalidParams, match=r"captions.images is .*list.tsv, and .* names .*b.png.*name the folder"):
        prepare(CaptionsParams("table", str(path), str(path)), WORLD, tmp_path / "out")
    path.write_text("image\tcaption\n../a.png\tone\nhttp://x/y\ttwo\n")
    with pytest.raises(InvalidParams, match=r"a.png, which lies outside of it"):
        prepare(CaptionsParams("table", str(path), str(path.parent)), WORLD, tmp_path / "out")


def test_an_unusable_table_leaves_an_earlier_output_as_it_was(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tsv", tmp_path / "bad.tsv"
    good.write_text("url\tcaption\nhttp://x/1\tone\n")
    bad.write_text("url\tcaption\nftp://x/1\tone\n")
    prepare(CaptionsParams("table", str(good), str(tmp_path)), WORLD, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(InvalidData, match="no usable row"):
        prepare(CaptionsParams("table", str(bad), str(tmp_path)), WORLD, tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_check_finds_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"gone\.csv"):
        check_captions(CaptionsParams("table", str(tmp_path / "gone.csv"), str(tmp_path)))


LIST = "a bus station\thttp://x/1\nsierra looked stunning\thttp://x/2\nbroken line\n"


def test_cc3m_from_a_copy_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.tsv"
    copy.write_text(LIST)
    monkeypatch.setenv("CLIPN_CC3M_TSV", str(copy))
    params = CaptionsParams("cc3m", "clipn/data/captions/cc3m.yaml", "clipn/data/captions/cc3m.yaml")
    check_captions(params)
    report = prepare(params, WORLD, tmp_path / "out")
    assert [(r["url"], r["caption"]) for r in read(tmp_path / "out")] == [
        ("http://x/1", "a bus station"),
        ("http://x/2", "sierra looked stunning"),
    ]
    assert (report["counts"]["in"], report["counts"]["out"], report["counts"]["dropped"]["malformed"]) == (3, 2, 1)
    copy.unlink()
    with pytest.raises(MissingInput, match=r"CLIPN_CC3M_TSV names .*copy\.tsv, which does not exist"):
        check_captions(params)


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/list.tsv"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(LIST) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(LIST.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry's entry, to be changed by the test."""
    monkeypatch.delenv("CLIPN_CC3M_TSV", raising=False)
    entry = _cc3m()
    monkeypatch.setattr("clipn.data.captions.prepare._cc3m", lambda: entry)
    return entry


def test_cc3m_is_fetched_once(tmp_path: Path, official: dict[str, Any], site: str) -> None:
    official["address"] = f"{site}/list.tsv"
    report = prepare(CaptionsParams("cc3m", "x", "x", limit=1), WORLD, tmp_path / "out")
    assert [row["caption"] for row in read(tmp_path / "out")] == ["a bus station"]
    assert report["in_expected"] == 3318333
    assert list(content(tmp_path / "out")) == ["captions.parquet"]
    official["address"] = f"{site}/gone.tsv"
    prepare(CaptionsParams("cc3m", "x", "x", limit=2), WORLD, tmp_path / "out")
    assert len(read(tmp_path / "out")) == 2


def test_cc3m_failure_names_the_address_and_the_way_out(tmp_path: Path, official: dict[str, Any], site: str) -> None:
    official["address"] = f"{site}/gone.tsv"
    with pytest.raises(DownloadFailed, match=r"/gone\.tsv.*put it at .*cc3m\.tsv.*CLIPN_CC3M_TSV"):
        prepare(CaptionsParams("cc3m", "x", "x"), WORLD, tmp_path / "out")
    assert not (tmp_path / "out").exists()
