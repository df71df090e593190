"""All stages once, small, in their order; then what a stage does with inputs that went bad."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from clipn import FeatureStore
from clipn.data import manifest
from clipn.project import profiles
from flows.stages import (
    attack,
    backbone,
    baselines,
    captions,
    download,
    evaluate,
    features,
    overlap,
    report,
    robustness,
    set_features,
    sets,
    train,
    words,
)
from tests.conftest import ROOT

SETS = ("pictographs", "greek", "digits", "pictographs_fit")
OVERRIDES = (
    "captions.images_per_symbol=2",
    "captions.missing=0.05",
    "captions.corrupt=0.05",
    "download.min_success=0.8",
    "download.samples_per_shard=256",
    "backbone.pretrain.batch_size=64",
    "train.batch_size=64",
    "train.check.id=pictographs",
    "train.check.ood=greek",
    "benchmarks.pictographs.ood=[greek,digits]",
    "benchmarks.pictographs.validation=null",
    "evaluate.benchmarks=[pictographs]",
    "words.limit=200",
    "study.benchmarks=[]",
    "attack.steps=2",
    "attack.images=4",
    "attack.methods=[MCM,CLIPN-ATD,1-NN]",
    "robustness.images=6",
    "robustness.methods=[MCM,CLIPN-ATD]",
    "robustness.templates=[simple]",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which every stage has run."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        values = profiles.compose("smoke", OVERRIDES)
        values["study"]["backbones"] = {}
        values["words"]["path"] = str(ROOT / values["words"]["path"])
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        patch.chdir(folder)
        captions.run()
        download.run()
        backbone.run()
        features.run()
        for name in SETS:
            sets.run(name)
            set_features.run(name)
        overlap.run("pictographs")
        words.run()
        for seed in (0, 1):
            train.run(seed)
            evaluate.run("pictographs", seed)
        baselines.run("pictographs")
        attack.run("pictographs")
        robustness.run("pictographs")
        report.run()
    return folder


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_every_link_is_accounted_for() -> None:
    rows = manifest.read("data/download/manifest.parquet")
    counts = manifest.status_counts(rows)
    assert len(rows) == 456
    assert counts == {"success": 410, "failed_to_download": 23, "failed_to_resize": 23}
    assert all(row.error for row in rows if row.status != "success")


def test_features_belong_to_the_backbone_and_cover_the_manifest() -> None:
    fingerprint = json.loads(Path("reports/stages/backbone.json").read_text())["fingerprint"]
    store = FeatureStore.open("data/features/train", fingerprint)
    good = [row.key for row in manifest.read("data/download/manifest.parquet") if row.status == "success"]
    assert store.load().keys == good
    assert len(FeatureStore.open("data/features/sets/pictographs", fingerprint).meta.classes) == 20


def test_results_hold_every_method_and_set() -> None:
    metrics = json.loads(Path("reports/metrics.json").read_text())["pictographs"]
    methods = set(metrics) - {"id_accuracy", "calibration_error"}
    asked = set(yaml.safe_load(Path("params.yaml").read_text())["evaluate"]["methods"])
    assert methods == asked - {"GL-MCM"}  # whose patch features were not asked for
    for method in methods:
        assert set(metrics[method]["auroc"]) == {"greek", "digits", "average"}
    table = pq.read_table("data/scores/pictographs/seed-0.parquet")
    assert table.num_rows == 40 + 52 + 50
    assert "CLIPN on the miniature world" in Path("reports/report.html").read_text()


def test_overlaps_are_counted_and_listed() -> None:
    found = json.loads(Path("reports/overlap/pictographs.json").read_text())
    assert {name: of_set["images"] for name, of_set in found["sets"].items()} == {
        "pictographs": 40,
        "greek": 52,
        "digits": 50,
    }
    table = pq.read_table("data/overlap/pictographs/duplicates.parquet")
    for name in found["sets"]:
        rows = table.filter((pc.field("set") == name) & (pc.field("other") == "training"))
        assert sum(found["sets"][name]["training"].values()) == len(rows["key"].unique())
    keys = {row.key for row in manifest.read("data/download/manifest.parquet")}
    assert set(table.filter(pc.field("other") == "training")["other_key"].to_pylist()) <= keys


def test_every_stage_left_its_report() -> None:
    names = {path.stem for path in Path("reports/stages").iterdir()}
    assert {"captions", "download", "backbone", "features", "sets-greek", "set_features-greek", "train-1",
            "overlap-pictographs", "evaluate-pictographs-0", "words", "baselines-pictographs", "attack-pictographs",
            "robustness-pictographs", "report"} <= names  # fmt: skip


def test_a_second_run_of_features_gives_the_same_bytes() -> None:
    before = {path.name: path.read_bytes() for path in Path("data/features/train").iterdir()}
    features.run()
    assert {path.name: path.read_bytes() for path in Path("data/features/train").iterdir()} == before


def test_training_again_gives_the_same_weights() -> None:
    path = Path("models/clipn/seed-0/no_encoder.safetensors")
    before = path.read_bytes()
    train.run(0)
    assert path.read_bytes() == before


def failure(run, *arguments) -> str:  # type: ignore[no-untyped-def]
    state = run(*arguments, return_state=True)
    assert state.is_failed()
    return str(state.message)


def test_features_of_another_backbone_are_refused(project: Path) -> None:
    shutil.copytree("data/backbone", "data/kept")
    try:
        config = Path("data/backbone/open_clip_config.json")
        config.write_text(config.read_text().replace("bicubic", "bilinear"))
        assert "holds features of backbone" in failure(train.run, 0)
        assert "but this is" in failure(evaluate.run, "pictographs", 0)
    finally:
        shutil.rmtree("data/backbone")
        Path("data/kept").rename("data/backbone")


def test_a_damaged_tar_names_the_file() -> None:
    tar = Path("data/download/shards/00000.tar")
    content = tar.read_bytes()
    try:
        tar.write_bytes(content[: len(content) // 2])
        assert "00000.tar" in failure(features.run)
    finally:
        tar.write_bytes(content)


def test_missing_inputs_say_how_to_make_them() -> None:
    Path("data/download/manifest.parquet").rename("data/download/away")
    try:
        assert "manifest.parquet does not exist; run 'dvc repro'" in failure(features.run)
    finally:
        Path("data/download/away").rename("data/download/manifest.parquet")


def test_names_that_no_section_has() -> None:
    assert "sets has no 'nowhere'; known: arrows" in failure(sets.run, "nowhere")
    assert "benchmarks has no 'nothing'; known: choosing, emoticons, pictographs" in failure(evaluate.run, "nothing", 0)
    assert "benchmarks has no 'nothing'; known: choosing, emoticons, pictographs" in failure(overlap.run, "nothing")


def test_an_unknown_parameter_stops_every_stage() -> None:
    text = Path("params.yaml").read_text()
    try:
        Path("params.yaml").write_text(text + "\nextra: 1\n")
        assert "extra: unknown parameter" in failure(captions.run)
        assert "extra: unknown parameter" in failure(report.run)
    finally:
        Path("params.yaml").write_text(text)
