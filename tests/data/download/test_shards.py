from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipn.data import manifest, tars
from clipn.data.download import shards
from clipn.data.download.shards import Layout, Row, Target
from clipn.errors import InvalidData, MissingInput

ROWS = {
    "00000": Row("images/0.png", "a red cat"),
    "00001": Row("images/1.png", 'ein "Käfer"\n\tauf Holz'),
    "00002": Row("https://example.org/2", "gone"),
    "00003": Row("images/3.png", "refused"),
}


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def record(key: str, port: int, status: str = "success", error: str | None = None) -> dict[str, Any]:
    """What img2dataset says of a row; local files are asked for on some port."""
    url = ROWS[key].url
    good = status == "success"
    return {
        "url": url if url.startswith("https") else f"http://127.0.0.1:{port}/{int(key)}.png",
        "caption": ROWS[key].caption,
        "key": key,
        "status": status,
        "error_message": error,
        "width": 4 if good else None,
        "png": png(int(key)) if good else None,
    }


def records(port: int = 4000) -> list[dict[str, Any]]:
    return [
        record("00000", port),
        record("00001", port),
        record("00002", port, "failed_to_download", "http 404: Not Found"),
        record("00003", port, "failed_to_download", rf"cannot read <http://127.0.0.1:{port}/3.png> \1"),
    ]


def write_raw(folder: Path, written: list[dict[str, Any]], successes: Any = 2) -> Path:
    folder.mkdir()
    table = pa.Table.from_pylist(written).set_column(6, "png", pa.array([r["png"] for r in written], pa.binary()))
    pq.write_table(table, folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps({"count": 4, "successes": successes}))
    return folder


def accept(raw: Path, accepted: Path) -> None:
    accepted.mkdir(exist_ok=True)
    targets = {key: Target(key, 0, row) for key, row in ROWS.items()}
    shards.accept(raw, accepted, 0, shards.read_raw(raw, 0, targets, "png"))


def test_layout_by_the_rules_of_img2dataset() -> None:
    layout = Layout(rows=4500, samples_per_shard=2048)
    assert list(layout.shards) == [0, 1, 2]
    assert [layout.rows_of(s) for s in layout.shards] == [range(2048), range(2048, 4096), range(4096, 4500)]
    assert [layout.key(i) for i in (0, 2047, 2048, 4499)] == ["000000000", "000002047", "000010000", "000020403"]


@pytest.mark.parametrize(
    ("samples_per_shard", "row", "key"),
    [
        (2, 3, "000011"),
        (10, 10, "000010"),
        (1000, 999, "00000999"),
        (1000, 1000, "00001000"),
        (1001, 1001, "000010000"),
    ],
)
def test_keys_at_powers_of_ten(samples_per_shard: int, row: int, key: str) -> None:
    assert Layout(5000, samples_per_shard).key(row) == key


def test_accept_writes_tar_and_manifest_part(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", records())
    accept(raw, tmp_path / "accepted")
    samples = dict(tars.read(tmp_path / "accepted" / "00000.tar"))
    assert {key: (s["png"], s["txt"].decode()) for key, s in samples.items()} == {
        "00000": (png(0), "a red cat"),
        "00001": (png(1), 'ein "Käfer"\n\tauf Holz'),
    }
    details = json.loads(samples["00001"]["json"])
    assert (details["url"], details["key"], details["caption"]) == ("images/1.png", "00001", ROWS["00001"].caption)
    entries = shards.read_accepted(tmp_path / "accepted", 0)
    assert [(e.key, e.url, e.status, e.shard, e.error) for e in entries] == [
        ("00000", "images/0.png", "success", "00000.tar", None),
        ("00001", "images/1.png", "success", "00000.tar", None),
        ("00002", "https://example.org/2", "failed_to_download", None, "http 404: Not Found"),
        ("00003", "images/3.png", "failed_to_download", None, r"cannot read <images/3.png> \1"),
    ]
    first = entries[0]
    assert (first.sha256, first.bytes) == (hashlib.sha256(png(0)).hexdigest(), len(png(0)))
    assert (first.width, first.height, first.caption) == (4, 3, "a red cat")


def test_an_accepted_shard_leaves_only_its_statistics_to_img2dataset(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", records())
    assert shards.is_done(raw, 0)
    assert not shards.is_accepted(tmp_path / "accepted", 0)
    accept(raw, tmp_path / "accepted")
    assert [f.name for f in raw.iterdir()] == ["00000_stats.json"]
    assert shards.is_accepted(tmp_path / "accepted", 0)
    shards.discard(raw, tmp_path / "accepted", 0)
    assert not shards.is_done(raw, 0)
    assert not shards.is_accepted(tmp_path / "accepted", 0)


def test_order_of_arrival_and_port_do_not_change_a_byte(tmp_path: Path) -> None:
    accept(write_raw(tmp_path / "raw1", records(4000)), tmp_path / "a")
    accept(write_raw(tmp_path / "raw2", records(50123)[::-1]), tmp_path / "b")
    for name in ("00000.tar", "00000.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    """The folder of a shard in which 00000 and 00001 are images, and 00002 and 00003 are not."""
    accept(write_raw(tmp_path / "raw", records()), tmp_path / "accepted")
    return tmp_path / "accepted"


def retried(tmp_path: Path, written: list[dict[str, Any]]) -> list[shards.Fetched]:
    """What came of 00002 and 00003 later, which img2dataset then calls 000 and 001."""
    targets = {"000": Target("00002", 0, ROWS["00002"]), "001": Target("00003", 0, ROWS["00003"])}
    good = sum(r["status"] == "success" for r in written)
    raw = write_raw(tmp_path / "retry", [r | {"key": k} for k, r in zip(targets, written, strict=True)], good)
    return shards.read_raw(raw, 0, targets, "png")


def test_a_link_that_comes_later_gives_the_same_bytes_as_if_it_had_come_at_once(accepted: Path, tmp_path: Path) -> None:
    late = [record("00002", 1, "failed_to_download", "http 404: Not Found"), record("00003", 4711)]
    shards.merge(accepted, 0, retried(tmp_path, late))
    shards.check(accepted, 0)
    at_once = write_raw(tmp_path / "raw2", [*records()[:3], record("00003", 4000)], 3)
    accept(at_once, tmp_path / "accepted2")
    for name in ("00000.tar", "00000.parquet"):
        assert (accepted / name).read_bytes() == (tmp_path / "accepted2" / name).read_bytes()


def test_a_link_that_fails_again_says_how_it_failed_last(accepted: Path, tmp_path: Path) -> None:
    tar = (accepted / "00000.tar").read_bytes()
    late = [record(key, 1, "failed_to_download", "timeout: no answer within 5 s") for key in ("00002", "00003")]
    shards.merge(accepted, 0, retried(tmp_path, late))
    errors = [entry.error for entry in shards.read_accepted(accepted, 0)]
    assert errors == [None, None, *["timeout: no answer within 5 s"] * 2]
    assert (accepted / "00000.tar").read_bytes() == tar


def test_a_merge_that_was_killed_halfway_is_found_and_can_be_done_again(accepted: Path, tmp_path: Path) -> None:
    before = (accepted / "00000.parquet").read_bytes()
    fetched = retried(tmp_path, [record("00002", 1), record("00003", 1)])
    shards.merge(accepted, 0, fetched)
    whole = {file.name: file.read_bytes() for file in accepted.iterdir()}
    (accepted / "00000.parquet").write_bytes(before)  # the tar was replaced, the manifest not yet
    with pytest.raises(InvalidData, match=r"00000\.tar holds 00002, which is not in the manifest"):
        shards.check(accepted, 0)
    shards.merge(accepted, 0, fetched)
    assert {file.name: file.read_bytes() for file in accepted.iterdir()} == whole


def _rewritten(change: Callable[[list[tuple[str, tars.Sample]]], object]) -> Callable[[Path], None]:
    def damage(tar: Path) -> None:
        samples = list(tars.read(tar))
        change(samples)
        tars.write(tar, samples)

    return damage


def _cut_between_samples(tar: Path) -> None:
    """At the end of the first sample, so that the rest reads as a shorter tar without any error."""
    with tarfile.open(tar) as archive:
        end = archive.getmembers()[3].offset
    tar.write_bytes(tar.read_bytes()[:end])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tar: tar.write_bytes(tar.read_bytes()[:700]), "damaged tar"),
        (lambda tar: tar.write_bytes(b""), "damaged tar"),
        (lambda tar: tar.write_bytes(b"x" * 10240), "damaged tar"),
        (_cut_between_samples, "lacks 1 images of the manifest, the first 00001"),
        (_rewritten(lambda samples: samples.pop(0)), "lacks 1 images"),
        (_rewritten(lambda samples: samples.append(samples[0])), "the key '00000' appears twice"),
        (_rewritten(lambda samples: samples.append(("00009", {"png": b"x"}))), "holds 00009"),
        (_rewritten(lambda samples: samples[0][1].update(png=png(9))), "the image 00000 is not the one"),
    ],
)
def test_damaged_tars_are_found(accepted: Path, damage: Callable[[Path], Any], message: str) -> None:
    shards.check(accepted, 0)
    damage(accepted / "00000.tar")
    with pytest.raises(InvalidData, match=message):
        shards.check(accepted, 0)


def test_opt_outs_have_a_status_of_their_own(tmp_path: Path) -> None:
    refused = record("00003", 1, "failed_to_download", "Use of image disallowed by X-Robots-Tag directive")
    accept(write_raw(tmp_path / "raw", [*records()[:3], refused]), tmp_path / "accepted")
    entry = shards.read_accepted(tmp_path / "accepted", 0)[3]
    assert (entry.status, entry.shard) == ("opted_out", None)
    assert entry.error == "opt-out: the X-Robots-Tag of the answer asks not to use the image"


def _no_statistics(raw: Path) -> None:
    (raw / "00000_stats.json").unlink()


def _cut(name: str) -> Callable[[Path], None]:
    def cut(raw: Path) -> None:
        data = (raw / name).read_bytes()
        (raw / name).write_bytes(data[: len(data) // 2])

    return cut


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (_cut("00000.parquet"), InvalidData, r"00000\.parquet cannot be read"),
        (lambda raw: (raw / "00000.parquet").unlink(), InvalidData, r"00000\.parquet cannot be read"),
        (_cut("00000_stats.json"), InvalidData, r"00000_stats\.json is not valid JSON"),
        (_no_statistics, MissingInput, r"00000_stats\.json does not exist"),
        (lambda raw: (raw / "00000_stats.json").write_text("[]"), InvalidData, "has 2 images"),
        (lambda raw: (raw / "00000_stats.json").write_text(""), InvalidData, r"00000_stats\.json is not valid JSON"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, damage: Callable[[Path], Any], kind: type[Exception], message: str
) -> None:
    raw = write_raw(tmp_path / "raw", records())
    damage(raw)
    with pytest.raises(kind, match=message):
        accept(raw, tmp_path / "accepted")
    assert list((tmp_path / "accepted").iterdir()) == []


@pytest.mark.parametrize(
    ("written", "successes", "message"),
    [
        (records()[:3], 2, "does not have the 4 keys"),
        ([*records()[:3], record("00000", 4000)], 2, "does not have the 4 keys"),
        (records(), 3, "has 2 images, which is not what 00000_stats.json says"),
        ([records()[0] | {"png": b"<html>"}, *records()[1:]], 2, "sample 00000 is not an image"),
        ([records()[0] | {"png": None}, *records()[1:]], 2, "sample 00000 is not an image"),
        ([records()[0] | {"png": png(0)[:20]}, *records()[1:]], 2, "sample 00000 is not an image"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, written: list[dict[str, Any]], successes: int, message: str
) -> None:
    raw = write_raw(tmp_path / "raw", written, successes)
    with pytest.raises(InvalidData, match=message):
        accept(raw, tmp_path / "accepted")
    assert list((tmp_path / "accepted").iterdir()) == []


def test_an_accepted_shard_needs_both_files(tmp_path: Path) -> None:
    accept(write_raw(tmp_path / "raw", records()), tmp_path / "accepted")
    (tmp_path / "accepted" / "00000.tar").unlink()
    assert not shards.is_accepted(tmp_path / "accepted", 0)
    assert manifest.status_counts(shards.read_accepted(tmp_path / "accepted", 0)) == {
        "success": 2,
        "failed_to_download": 2,
    }
