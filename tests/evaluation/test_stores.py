"""The whole evaluation of a benchmark on feature stores, with the library alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clipn import FeatureStore, evaluation, paths
from clipn.config import BenchmarkParams
from clipn.errors import BackboneMismatch, InvalidParams, OutOfMemory
from clipn.evaluation import Sets, benchmark
from clipn.evaluation.evidence import Sources
from clipn.models import backbone
from tests.small_sets import illustrate


@pytest.fixture(autouse=True)
def project(scored_project: Path) -> Path:
    illustrate(scored_project)
    return scored_project


def test_evaluate_on_stores_gives_what_the_parts_give() -> None:
    clip = backbone.load(paths.BACKBONE)
    sets = Sets(
        BenchmarkParams(id="pictographs", ood=("greek", "digits"), fit="pictographs_fit"),
        {path.name: FeatureStore.open(path) for path in paths.SET_FEATURES.iterdir()},
    )
    methods = ["MCM", "CLIPN-CTW", "1-NN", "GL-MCM"]
    result = evaluation.evaluate(
        clip, sets, methods, model=paths.model(0), templates="symbols", name="mine", replicates=100
    )
    assert result.metrics["benchmark"] == "mine"
    assert result.metrics["templates"] == "symbols"
    assert list(result.metrics["methods"]) == ["MCM", "CLIPN-CTW", "1-NN"]
    assert list(result.metrics["skipped"]) == ["GL-MCM"]
    by_parts = benchmark.measure(
        "mine",
        sets.benchmark,
        lambda name: sets.load(methods, name),
        Sources(clip, sets, "symbols").gather(methods, paths.model(0)),
        methods,
        replicates=100,
    )
    assert by_parts.scores.equals(result.scores)
    assert result.metrics == {**by_parts.metrics, "templates": "symbols"}


def test_without_a_model_trained_methods_are_skipped() -> None:
    clip = backbone.load(paths.BACKBONE)
    sets = Sets.open(BenchmarkParams(id="pictographs", ood=("greek",)), clip.fingerprint, paths.SET_FEATURES)
    result = evaluation.evaluate(clip, sets, ["MCM", "CLIPN-ATD"], templates="symbols", replicates=100)
    assert result.metrics["skipped"] == {"CLIPN-ATD": 'needs a trained "No" text encoder'}
    assert 0 <= result.metrics["methods"]["MCM"]["average"]["auroc"] <= 1


def test_what_does_not_belong_together_is_refused() -> None:
    clip = backbone.load(paths.BACKBONE)
    sets = Sets.open(BenchmarkParams(id="pictographs", ood=("greek",)), clip.fingerprint, paths.SET_FEATURES)
    with pytest.raises(InvalidParams, match="unknown method 'Magic'; known: MSP, MCM"):
        evaluation.evaluate(clip, sets, ["MCM", "Magic"])
    with pytest.raises(InvalidParams, match="left_out names 'digits', no OOD set of the benchmark"):
        evaluation.evaluate(clip, sets, ["MCM"], left_out={"digits": ["0"]})
    other = replace(clip, fingerprint="other")
    with pytest.raises(BackboneMismatch, match=r"holds features of backbone .*, but this is other"):
        evaluation.evaluate(other, sets, ["MCM"])


def test_too_little_memory_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*args: object, **kwargs: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    clip = backbone.load(paths.BACKBONE)
    sets = Sets.open(BenchmarkParams(id="pictographs", ood=("greek",)), clip.fingerprint, paths.SET_FEATURES)
    monkeypatch.setattr(benchmark, "measure", measure)
    for device, words in (("cpu", r"\): CUDA"), ("cuda", r"\), or compute on the CPU \(CLIPN_DEVICE=cpu\): CUDA")):
        monkeypatch.setattr(Sources, "gather", lambda *args: None)
        with pytest.raises(OutOfMemory, match=rf"evaluate fewer methods at once than 2 \(evaluate.methods{words}"):
            evaluation.evaluate(replace(clip, device=torch.device(device)), sets, ["MCM", "MSP"], templates="symbols")
