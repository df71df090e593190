"""`clipn detect` as a user meets it, with a tiny CLIP and a model of random weights."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipn import Detector
from clipn.cli import main
from clipn.features.rows import FeatureMeta
from clipn.features.store import write_index
from clipn.features.writer import write_shard
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.training.pretrain import preprocess_cfg
from clipn.utils.files import write_json
from tests.conftest import TINY

CLASSES = ["sun", "cloud", "umbrella"]
Run = Callable[..., str]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU rounds otherwise; `tests/gpu` compares the two."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def project(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a backbone, a trained model where commands look for them, and 20 photos."""
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), Path("data/backbone"))
    encoder = NoTextEncoder(tiny_clip, n_prompts=2)
    torch.manual_seed(1)
    assert encoder.prompts is not None
    torch.nn.init.normal_(encoder.prompts, std=0.5)
    config = NoEncoderConfig("learnable", 2, None, False, backbone.fingerprint("data/backbone"), seed=0)
    no_encoder.save(encoder, config, Path("models/clipn/seed-0"))
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(f"photos/{i:02d}.png")
    return tmp_path


@pytest.fixture
def detect(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> str:
        main.main(["detect", *arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture
def evaluation_set(project: Path) -> str:
    """A set that looks as if it went through the pipeline: the photos, labelled in turn."""
    images = [Image.open(path).convert("RGB") for path in sorted(Path("photos").glob("*.png"))]
    batch = Detector.load("models/clipn/seed-0", "data/backbone", CLASSES, template_set="simple").features(images)
    assert batch.pooled is not None
    meta = FeatureMeta(
        dim=batch.image.shape[1],
        backbone=backbone.fingerprint("data/backbone"),
        preprocess="",
        logit_scale=1.0,
        kind="evaluation",
        classes=tuple(CLASSES),
        pooled=batch.pooled.shape[1],
    )
    shard = Path("data/features/sets/weather/0.parquet")
    with write_shard(shard, meta) as writer:
        writer.append(replace(batch, label=np.arange(20, dtype=np.int32) % 3))
    write_index(shard.parent, [shard])
    Path("data/sets/weather").mkdir(parents=True)
    write_json(Path("data/sets/weather/classes.json"), CLASSES)
    return "weather"


def names(rows: Sequence[dict[str, str]]) -> list[str]:
    return [Path(row["image"]).name for row in rows]


def test_json_and_csv_have_a_row_for_each_image(detect: Run) -> None:
    rows = json.loads(detect("photos", "--classes", "sun, cloud", "--format", "json"))
    assert names(rows) == [f"{i:02d}.png" for i in range(20)]
    assert list(rows[0]) == ["image", "label", "probability", "score", "accepted"]
    assert {row["label"] for row in rows} <= {"sun", "cloud"}
    table = list(csv.DictReader(io.StringIO(detect("photos", "--classes", "sun, cloud", "--format", "csv"))))
    assert [row["label"] for row in table] == [row["label"] for row in rows]
    assert [float(row["score"]) for row in table] == [row["score"] for row in rows]


def test_the_table_counts_the_images_outside_of_all_classes(detect: Run) -> None:
    out = detect("photos/00.png", "photos/01.png", "--classes", "sun,cloud", "--score", "MCM", "--calibrate", "photos",
                 "--tpr", "1")  # fmt: skip
    assert "ID?" in out
    assert "0 of 2 images belong to none of 2 classes" in out


def test_calibration_names_threshold_and_folder(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["detect", "photos", "--classes", "sun,cloud", "--score", "MaxLogit", "--calibrate", "photos",
               "--tpr", "0.75", "--format", "json"])  # fmt: skip
    out, err = capsys.readouterr()
    assert err.startswith("threshold ")
    assert err.endswith(" accepts 75% of photos\n")
    assert sum(row["accepted"] for row in json.loads(out)) in (15, 16)


def test_a_set_gives_classes_and_threshold(
    project: Path, evaluation_set: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main.main(["detect", "photos", "--set", evaluation_set, "--score", "MCM", "--tpr", "1", "--format", "json"])
    out, err = capsys.readouterr()
    assert err.endswith(" accepts 100% of data/features/sets/weather\n")
    assert {row["label"] for row in json.loads(out)} <= set(CLASSES)


def test_id_images_for_a_score_come_from_a_set(detect: Run, evaluation_set: str) -> None:
    fitted = ["--fit", evaluation_set, "--score", "Mahalanobis", "--calibrate", "photos", "--tpr", "1"]
    assert "0 of 20 images belong to none of 3 classes" in detect("photos", "--classes", "sun,cloud,umbrella", *fitted)
    with pytest.raises(SystemExit, match="Mahalanobis learns the classes of 'weather', but other ones are asked for"):
        detect("photos", "--classes", "sun,cloud", *fitted)


def test_a_score_that_needs_id_images_says_so(detect: Run) -> None:
    with pytest.raises(SystemExit, match="1-NN needs in-distribution images; name a set of them with --fit"):
        detect("photos", "--classes", "sun,cloud", "--score", "1-NN")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("missing.png", None, "missing.png does not exist"), ("text.png", b"hello", "text.png: not an image")],
)
def test_the_file_that_is_wrong_is_named(detect: Run, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        detect(name, "--classes", "sun,cloud")


@pytest.mark.parametrize("given", [(), ("--classes", "sun", "--set", "weather")])
def test_classes_come_from_one_place(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["detect", "photos", *given])
    assert end.value.code == 2
    assert "Give one of --classes and --set." in capsys.readouterr().err


def test_a_share_without_a_threshold_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["detect", "photos", "--classes", "sun", "--tpr", "0.9"])
    assert end.value.code == 2
    assert "--tpr is for a threshold: give --calibrate or --set too." in capsys.readouterr().err


def test_too_little_memory_names_the_option(
    detect: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*args: object, **kwargs: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")

    monkeypatch.setattr("clipn.detector.encode_images", encode)
    with pytest.raises(SystemExit) as end:
        detect("photos", "--classes", "sun,cloud", "--batch-size", "16")
    assert end.value.code == (
        "error: not enough memory; lower the batch size (clipn detect --batch-size), which is 16: "
        "CUDA out of memory. Tried to allocate 9 GiB"
    )
    assert "Traceback" not in capsys.readouterr().err
