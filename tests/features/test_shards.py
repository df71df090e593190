"""From a tar and its manifest to a feature shard, with a real (small, random) tower."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clipn.config import FeaturesParams
from clipn.data import images, manifest, tars
from clipn.data.manifest import Entry
from clipn.errors import InvalidData, InvalidParams, NonFinite, OutOfMemory
from clipn.features import views
from clipn.features.inputs import Loader
from clipn.features.shards import ShardTask, describe, encode_shard, plan
from clipn.features.store import FeatureStore, unit_norm, write_index
from clipn.models import backbone, image_tower
from clipn.models.backbone import Backbone
from clipn.training.pretrain import preprocess_cfg
from clipn.utils.threads import torch_threads
from tests.conftest import TINY

PARAMS = FeaturesParams(batch_size=4, max_pixels=10_000, max_dropped=0.2, views=0, view_scale=(0.5, 1.0), patches=False)


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def folder_of(path: Path, contents: list[bytes]) -> Path:
    """A tar with a manifest that lists all its images as good."""
    path.mkdir(parents=True, exist_ok=True)
    samples = [(f"{i:04d}", {"png": data}) for i, data in enumerate(contents)]
    tars.write(path / "images.tar", samples)
    manifest.write(
        path / "manifest.parquet",
        [
            Entry(key, f"{key}.png", shard="images.tar", caption=f"picture {key}", label=i % 2,
                  sha256=hashlib.sha256(sample["png"]).hexdigest(), bytes=len(sample["png"]), width=20, height=20)
            for i, (key, sample) in enumerate(samples)
        ],
    )  # fmt: skip
    return path


def one_task(folder: Path, out: Path) -> ShardTask:
    (task,) = plan(folder, folder, out)
    return task


def test_evaluation_features_equal_the_towers_own(clip: Backbone, tmp_path: Path) -> None:
    contents = [png(i) for i in range(10)]
    folder = folder_of(tmp_path / "set", contents)
    task = one_task(folder, tmp_path / "out")
    meta = describe(clip, PARAMS, "evaluation", ["even", "odd"])
    report = encode_shard(task, clip, meta, PARAMS, workers=2)
    assert (report.rows, report.dropped, report.reused) == (10, {}, False)
    write_index(tmp_path / "out", [task.out])
    batch = FeatureStore.open(tmp_path / "out", clip.fingerprint).load()
    assert batch.keys == [f"{i:04d}" for i in range(10)]
    assert batch.label is not None
    assert batch.label.tolist() == [0, 1] * 5
    pixels = torch.stack([clip.preprocess(Image.open(io.BytesIO(c)).convert("RGB")) for c in contents])
    expected = clip.model.encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(unit_norm(batch.image), expected, atol=1e-3)
    pooled = image_tower.encode(clip.model, pixels).pooled
    assert pooled is not None
    np.testing.assert_allclose(batch.pooled, pooled.detach(), rtol=1e-3, atol=1e-3)
    assert batch.patches is None


def test_patches_come_along_where_asked_for(clip: Backbone, tmp_path: Path) -> None:
    contents = [png(i) for i in range(5)]
    task = one_task(folder_of(tmp_path / "set", contents), tmp_path / "out")
    params = replace(PARAMS, patches=True)
    meta = describe(clip, params, "evaluation")
    encode_shard(task, clip, meta, params)
    write_index(tmp_path / "out", [task.out])
    batch = FeatureStore.open(tmp_path / "out").load()
    pixels = torch.stack([clip.preprocess(Image.open(io.BytesIO(c)).convert("RGB")) for c in contents])
    expected = image_tower.encode(clip.model, pixels, patches=True).patches
    assert expected is not None
    assert batch.patches is not None
    assert batch.patches.shape == expected.shape == (5, meta.patches, meta.dim)
    expected = torch.nn.functional.normalize(expected.detach(), dim=-1)
    np.testing.assert_allclose(batch.patches, expected, atol=1e-3)


def test_a_tower_without_patches_says_so(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_tower, "sizes", lambda model, pixels: (16, 0, 0))
    with pytest.raises(
        InvalidParams, match=r"features\.patches: the image tower VisionTransformer gives no patch features"
    ):
        describe(clip, replace(PARAMS, patches=True), "evaluation")


def test_training_features_carry_text_and_tokens(clip: Backbone, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", [png(0), png(1)])
    task = one_task(folder, tmp_path / "out")
    encode_shard(task, clip, describe(clip, PARAMS, "training"), PARAMS)
    write_index(tmp_path / "out", [task.out])
    batch = FeatureStore.open(tmp_path / "out").load()
    assert batch.tokens is not None
    assert batch.text is not None
    tokens = clip.tokenize(["picture 0000", "picture 0001"])
    for row, full in zip(batch.tokens, tokens, strict=True):
        assert row.tolist() == [t for t in full.tolist() if t]
    np.testing.assert_allclose(unit_norm(batch.text), clip.text(tokens).numpy(), atol=1e-3)


def test_views_are_features_of_random_crops(clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [png(i) for i in range(6)]
    folder = folder_of(tmp_path / "set", contents)
    decoded = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda data, limit: decoded.append(data) or decode(data, limit))
    params = replace(PARAMS, views=2)
    stores = {}
    for batch_size, workers in ((1, 1), (12, 3)):
        task = one_task(folder, tmp_path / f"out{batch_size}")
        encode_shard(
            task, clip, describe(clip, params, "training"), replace(params, batch_size=batch_size), workers=workers
        )
        write_index(task.out.parent, [task.out])
        stores[batch_size] = FeatureStore.open(task.out.parent).load()
    assert len(decoded) == 2 * len(contents)
    first, second = stores.values()
    assert first.views is not None
    assert second.views is not None
    np.testing.assert_allclose(unit_norm(first.image), unit_norm(second.image), atol=1e-3)
    np.testing.assert_allclose(first.views.astype(np.float32), second.views.astype(np.float32), atol=1e-3)
    whole = views.squash(clip.model)
    for row, content in enumerate(contents):
        image = images.decode(content, 10_000)
        crops = torch.stack([views.view(image, f"{row:04d}", number, (0.5, 1.0), whole) for number in range(2)])
        expected = clip.model.encode_image(crops, normalize=True).numpy()
        np.testing.assert_allclose(unit_norm(first.views[row]), expected, atol=1e-3)
        centre = clip.model.encode_image(clip.preprocess(image)[None], normalize=True).numpy()
        np.testing.assert_allclose(unit_norm(first.image[row][None]), centre, atol=1e-3)
        assert np.abs(expected - centre).max() > 1e-2


def test_only_what_the_shard_holds_makes_it_anew(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(0)]), tmp_path / "out")

    def source(**changes: object) -> str:
        return task.source(describe(clip, replace(PARAMS, **changes), "training"))

    assert source(view_scale=(0.9, 1.0)) == source(batch_size=7) == source()
    assert len({source(), source(views=1), source(views=2), source(views=2, view_scale=(0.9, 1.0))}) == 4


def test_a_finished_shard_is_taken_over_until_its_source_changes(clip: Backbone, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", [png(0), png(1)])
    task = one_task(folder, tmp_path / "out")
    meta = describe(clip, PARAMS, "evaluation")
    encode_shard(task, clip, meta, PARAMS)
    before = task.out.stat().st_mtime_ns
    assert encode_shard(task, clip, meta, PARAMS).reused
    assert task.out.stat().st_mtime_ns == before
    relabelled = replace(task, entries=[replace(entry, label=7) for entry in task.entries])
    assert not encode_shard(relabelled, clip, meta, PARAMS).reused
    assert not encode_shard(task, clip, replace(meta, backbone="other"), PARAMS).reused


def test_a_tar_cut_between_two_members_is_found(clip: Backbone, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", [png(0), png(1), png(2)])
    tars.write(folder / "images.tar", list(tars.read(folder / "images.tar"))[:2])
    with pytest.raises(InvalidData, match="lacks 1 images of the manifest, the first 0002"):
        encode_shard(one_task(folder, tmp_path / "out"), clip, describe(clip, PARAMS, "evaluation"), PARAMS)
    assert not (tmp_path / "out/images.parquet").exists()


def test_an_image_that_was_exchanged_is_found(clip: Backbone, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", [png(0), png(1)])
    tars.write(folder / "images.tar", [("0000", {"png": png(0)}), ("0001", {"png": png(9)})])
    with pytest.raises(InvalidData, match="image 0001 is not the one in the manifest"):
        encode_shard(one_task(folder, tmp_path / "out"), clip, describe(clip, PARAMS, "evaluation"), PARAMS)


def test_unreadable_images_are_dropped_up_to_the_limit(clip: Backbone, tmp_path: Path) -> None:
    broken = png(1)[:200]
    few = folder_of(tmp_path / "few", [png(0), broken, *(png(i) for i in range(2, 10))])
    report = encode_shard(one_task(few, tmp_path / "a"), clip, describe(clip, PARAMS, "evaluation"), PARAMS)
    assert (report.rows, report.dropped) == (9, {"unreadable": 1})
    many = folder_of(tmp_path / "many", [png(0), broken, broken])
    with pytest.raises(InvalidData, match=r"2 of 3 images cannot be read.*max_dropped = 0\.2"):
        encode_shard(one_task(many, tmp_path / "b"), clip, describe(clip, PARAMS, "evaluation"), PARAMS)


def test_a_manifest_without_good_images(tmp_path: Path) -> None:
    manifest.write(tmp_path / "manifest.parquet", [Entry("0", "http://x", status="failed_to_download")])
    with pytest.raises(InvalidData, match="lists no good image"):
        plan(tmp_path, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-50], lambda data: data[:40] + b"x" + data[41:], lambda data: b""]
)
def test_a_finished_shard_that_was_damaged_is_made_again(
    clip: Backbone, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(0), png(1)]), tmp_path / "out")
    meta = describe(clip, PARAMS, "evaluation")
    encode_shard(task, clip, meta, PARAMS)
    good = task.out.read_bytes()
    task.out.write_bytes(damage(good))
    assert not encode_shard(task, clip, meta, PARAMS).reused
    assert task.out.read_bytes() == good


def test_a_damaged_mark_counts_as_none(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(0)]), tmp_path / "out")
    meta = describe(clip, PARAMS, "evaluation")
    encode_shard(task, clip, meta, PARAMS)
    task.out.with_suffix(".source").write_bytes(b"\xff\x00")
    assert not encode_shard(task, clip, meta, PARAMS).reused


def test_a_feature_that_is_not_finite_stops_the_shard(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(i) for i in range(9)]), tmp_path / "out")
    clip.model.visual.ln_post.bias.data[0] = torch.nan  # type: ignore[union-attr]
    with pytest.raises(NonFinite, match="the image feature of '0000' is not finite"):
        encode_shard(task, clip, describe(clip, PARAMS, "evaluation"), PARAMS, workers=2)
    assert not list((tmp_path / "out").iterdir())


def test_the_report_says_where_the_time_went(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(i) for i in range(9)]), tmp_path / "out")
    seen = []
    report = encode_shard(
        task, clip, describe(clip, PARAMS, "training"), PARAMS, progress=lambda done, total: seen.append((done, total))
    )
    assert set(report.seconds) == {"read", "decode", "wait for images", "tower", "wait for writing", "write"}
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_processes_make_the_shards_that_threads_make_and_serve_one_after_the_other(
    clip: Backbone, tmp_path: Path
) -> None:
    params = replace(PARAMS, views=1)
    meta = describe(clip, params, "training")
    with closing(Loader(clip, meta, params, workers=2, processes=True)) as loader:
        for name, contents in (("a", [png(i) for i in range(9)]), ("b", [png(9), b"no image", *map(png, range(4))])):
            folder = folder_of(tmp_path / name, contents)
            expected = encode_shard(one_task(folder, tmp_path / "threads" / name), clip, meta, params, workers=2)
            report = encode_shard(one_task(folder, tmp_path / name), clip, meta, params, workers=2, loader=loader)
            assert (report.rows, report.dropped) == (expected.rows, expected.dropped)
            shards = [path / "images.parquet" for path in (tmp_path / name, tmp_path / "threads" / name)]
            assert len({shard.read_bytes() for shard in shards}) == 1


def test_a_tar_that_was_cut_is_refused_with_processes_as_without(clip: Backbone, tmp_path: Path) -> None:
    task = one_task(folder_of(tmp_path / "set", [png(i) for i in range(9)]), tmp_path / "out")
    task.tar.write_bytes(task.tar.read_bytes()[: 4 * 2048])
    meta, messages = describe(clip, PARAMS, "evaluation"), set()
    for processes in (False, True):
        with closing(Loader(clip, meta, PARAMS, workers=2, processes=processes)) as loader:
            with pytest.raises(InvalidData, match=r"images\.tar") as error:
                encode_shard(task, clip, meta, PARAMS, workers=2, loader=loader)
            messages.add(str(error.value))
    assert len(messages) == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_thread_computes_a_batch_however_many_torch_has(
    clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """How many threads share an operation decides how its sums are rounded."""
    seen = []

    def tower(*args: Any) -> image_tower.Encoded:
        seen.append((torch.get_num_threads(), len(args[1])))
        return encode(*args)

    task = one_task(folder_of(tmp_path / "set", [png(i) for i in range(9)]), tmp_path / "out")
    meta = describe(clip, PARAMS, "training")
    encode = image_tower.encode
    monkeypatch.setattr(image_tower, "encode", tower)
    with torch_threads(threads):
        encode_shard(task, clip, meta, PARAMS, workers=2)
        assert torch.get_num_threads() == threads
    assert sorted(seen) == [(1, 1), (1, 4), (1, 4)]
    assert pq.read_table(task.out)["key"].to_pylist() == [f"{i:04d}" for i in range(9)]


def test_too_little_memory_names_the_parameter(clip: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tower(*args: Any) -> image_tower.Encoded:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    task = one_task(folder_of(tmp_path / "set", [png(i) for i in range(9)]), tmp_path / "out")
    meta = describe(clip, PARAMS, "training")
    monkeypatch.setattr(image_tower, "encode", tower)
    with pytest.raises(OutOfMemory, match=r"lower features\.batch_size, which is 4: CUDA out of memory"):
        encode_shard(task, clip, meta, PARAMS)
    assert not task.out.exists()
