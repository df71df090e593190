"""The attack on a small benchmark, from the images in their tars to the numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipn import scores
from clipn.config import AttackParams, BenchmarkParams
from clipn.data import tars
from clipn.data.manifest import Entry
from clipn.evaluation.attack import study
from clipn.evaluation.attack.study import Attacked
from clipn.features.crops import cropper
from clipn.features.encode import Inputs, encode
from clipn.features.lookup import Images
from clipn.features.shards import describe
from clipn.metrics.detection import auroc
from clipn.models.backbone import Backbone
from clipn.scores import Evidence
from clipn.scores.base import Kind
from clipn.scores.panel import Panel, kinds_of
from tests.small_sets import PARAMS, RESNET, picture, tiny, write_set
from tests.training_data import unit

BENCHMARK = BenchmarkParams(id="known", ood=("near", "far"), fit="fit")
ATTACK = AttackParams(
    benchmarks=(), methods=(), images=6, steps=10, lr=1e-2, batch_size=4, start_noise=1e-3, smooth_weight=1.0, seed=0
)
CLASSES = ("odd", "even")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny(tmp_path_factory.mktemp("clip"), RESNET)


@pytest.fixture(scope="module")
def sets(clip: Backbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Images]:
    folder = tmp_path_factory.mktemp("sets")
    parts = {"known": range(0, 12), "near": range(20, 25), "far": range(30, 35), "fit": range(40, 60)}
    return {
        name: write_set(folder / name, clip, [picture(seed) for seed in seeds], CLASSES)
        for name, seeds in parts.items()
    }


def evidence(sets: Mapping[str, Images]) -> dict[int | None, Evidence]:
    rng = np.random.default_rng(0)
    plain = Evidence(unit(rng, 2, 16), logit_scale=20.0, images=sets["fit"].features.load())
    return {None: plain, 0: replace(plain, no=unit(rng, 2, 16))}


def attacked(clip: Backbone, sets: Mapping[str, Images], benchmark: BenchmarkParams, left_out: set[str]) -> Attacked:
    known = evidence(sets)
    panel = Panel.fit(["MCM", "CLIPN-CTW", "1-NN"], known, kinds_of(sets["known"].features.meta))
    return study.run(
        clip, benchmark, sets, panel, known, ATTACK, left_out={"near": left_out}, max_pixels=PARAMS.max_pixels
    )


def test_the_files_hold_what_was_scored(clip: Backbone, sets: dict[str, Images], tmp_path: Path) -> None:
    result = attacked(clip, sets, BENCHMARK, {"00000000", "00000004"})
    assert [pair.name for pair in result.pairs][:3] == ["near/00000001", "near/00000002", "near/00000003"]
    assert len(result.pairs) == 6
    again = attacked(clip, sets, BENCHMARK, {"00000000", "00000004"})
    assert again.kinds == result.kinds
    (tmp_path / "out").mkdir()
    result.write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "patchy.png", "patchy.tar", "smooth.png", "smooth.tar",
    ]  # fmt: skip
    targets = {pair.target for pair in result.pairs}
    images = sets["fit"].features.load()
    fewer = images.rows([i for i, key in enumerate(images.keys) if key not in targets])
    for kind, weight in (("smooth", 1.0), ("patchy", 0.0)):
        found = result.kinds[kind]
        assert found["weight"] == weight
        assert found["cosine_after"] > found["cosine_before"]
        assert found["change"] > 0
        samples = [sample for _, sample in tars.read(tmp_path / f"out/{kind}.tar")]
        scored = dict[str, list[float]]()
        for method, known in (("CLIPN-CTW", evidence(sets)[0]), ("1-NN", evidence(sets)[None]),
                              ("left", replace(evidence(sets)[None], images=fewer))):  # fmt: skip
            score = scores.fit(method if method != "left" else "1-NN", known)
            inside = score.score(scores.features_of(sets["known"].features.load(), score.takes))
            scored[method] = [
                auroc(inside, score.score(encoded(clip, [sample[f"{what}.png"] for sample in samples], score.takes)))
                for what in ("start", "moved")
            ]
        methods = found["methods"]
        # A batch of another size rounds otherwise, which can change the order of two images, of 12 · 6 pairs.
        near = {"abs": 1 / 72}
        assert [methods["CLIPN-CTW"][when][0] for when in ("before", "after")] == pytest.approx(
            scored["CLIPN-CTW"], **near
        )
        assert [methods["1-NN"][when][0] for when in ("before", "after")] == pytest.approx(scored["1-NN"], **near)
        assert methods["1-NN"]["after_without_targets"] == pytest.approx(scored["left"][1:], **near)
        assert "after_without_targets" not in methods["CLIPN-CTW"]


def encoded(clip: Backbone, files: list[bytes], takes: Kind) -> np.ndarray:
    """Saved pictures through the ordinary path of images."""
    pictures = np.stack([cropper(clip)(Image.open(io.BytesIO(data))) for data in files])
    inputs = Inputs(
        [Entry(str(i), "") for i in range(len(files))], torch.from_numpy(pictures)[:, None], None, unreadable=0
    )
    found = encode(inputs, clip, describe(clip, PARAMS, "evaluation"))()
    assert found.pooled is not None
    stored = replace(found, image=found.image.astype(np.float16), pooled=found.pooled.astype(np.float16))
    return scores.features_of(stored, takes)


def test_without_a_fit_set_the_targets_are_test_images(clip: Backbone, sets: dict[str, Images]) -> None:
    known = {name: images for name, images in sets.items() if name != "fit"}
    plain = replace(evidence(sets)[None], images=None)
    panel = Panel.fit(["MCM", "1-NN"], {None: plain}, kinds_of(sets["known"].features.meta))
    told: list[tuple[int, int]] = []
    result = study.run(
        clip, replace(BENCHMARK, fit=None), known, panel, {None: plain}, replace(ATTACK, steps=2),
        left_out={}, max_pixels=PARAMS.max_pixels, progress=lambda *counts: told.append(counts),
    )  # fmt: skip
    assert {pair.target for pair in result.pairs} <= set(sets["known"].features.load().keys)
    assert list(panel.skipped) == ["1-NN"]
    assert list(result.kinds["smooth"]["methods"]) == ["MCM"]
    assert told == sorted(told)
    assert {(12, 24), (24, 24)} <= set(told)
