"""The evaluation of a benchmark on features where the right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.evaluation.benchmark import Evaluation, measure
from clipn.features.store import FeatureBatch
from clipn.scores import Evidence

BENCHMARK = BenchmarkParams(id="known", ood=("near", "far"))
EVIDENCE = Evidence(
    yes=np.eye(3, dtype=np.float32)[:2], no=np.array([[0, 0, 1], [0, 0, 1]], np.float32), logit_scale=10.0
)


def batch(rows: list[list[float]], label: list[int]) -> FeatureBatch:
    image = np.array(rows, np.float32)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    keys = [f"{i}" for i in range(len(rows))]
    return FeatureBatch(keys, image.astype(np.float16), label=np.array(label, np.int32))


FEATURES = {
    "known": batch([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [1, 0.2, 0]], [0, 0, 1, 1]),
    "near": batch([[1, 0, 0.1], [0.2, 0.1, 1]], [-1, -1]),
    "far": batch([[0, 0, 1], [0.1, 0, 1]], [-1, -1]),
}


def run(
    features: dict[str, FeatureBatch] = FEATURES,
    left_out: dict[str, set[str]] | None = None,
    methods: tuple[str, ...] = ("MaxLogit", "CLIPN-CTW"),
    evidence: Evidence = EVIDENCE,
) -> Evaluation:
    return measure(
        "toy",
        BENCHMARK,
        features.__getitem__,
        evidence,
        methods,
        "id-interpolated",
        replicates=100,
        left_out=left_out,
    )


def test_metrics_by_hand() -> None:
    metrics = run().metrics
    assert metrics["id_accuracy"] == 0.75
    assert metrics["images"] == {"known": 4, "near": 2, "far": 2}
    assert metrics["left_out"] == {"near": 0, "far": 0}
    assert metrics["skipped"] == {}
    logit = metrics["methods"]["MaxLogit"]
    assert (logit["trained"], logit["needs"], logit["id_accuracy"]) == (False, ["yes"], None)
    # Largest cosines: known 1, .994, 1, .981; near .995, .195; far 0, .0995. One of eight pairs and
    # one more is lost against the first near image.
    assert logit["ood"]["near"]["auroc"] == pytest.approx(6 / 8)
    far = logit["ood"]["far"]
    assert (far["auroc"], far["auroc_low"], far["auroc_high"]) == (1.0, 1.0, 1.0)
    assert (far["fpr95_id_interpolated"], far["fpr95_id_nearest"], far["fpr95_ood_first"]) == (0, 0, 0)
    assert (far["aupr_in"], far["aupr_out"]) == (1.0, 1.0)
    assert logit["average"]["auroc"] == pytest.approx(7 / 8)
    near = logit["ood"]["near"]
    assert 0 <= near["auroc_low"] < 6 / 8 < near["auroc_high"] <= 1
    clipn = metrics["methods"]["CLIPN-CTW"]
    assert clipn["trained"] is True
    assert clipn["decision"]["id_kept"] == 1.0
    assert clipn["decision"]["ood_refused"] == {"near": 0.5, "far": 1.0}
    assert 0 < clipn["decision"]["calibration_error"] < 1


def test_calibration_of_the_class_probability() -> None:
    result = run().metrics["calibration"]
    logits = (
        10
        * np.array([[1, 0], [0.9, 0.1], [0, 1], [1, 0.2]])
        / np.linalg.norm([[1, 0], [0.9, 0.1], [0, 1], [1, 0.2]], axis=1, keepdims=True)
    )
    confidence = (1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1])))).mean()
    # All four are in the topmost bin, and three of them are right.
    assert result["accuracy"] == 0.75
    assert result["confidence"] == pytest.approx(confidence, abs=1e-3)
    assert result["error"] == pytest.approx(confidence - 0.75, abs=1e-3)


def test_methods_that_cannot_be_fed_are_named_with_the_reason() -> None:
    metrics = run(methods=("MaxLogit", "1-NN", "GL-MCM")).metrics
    assert list(metrics["methods"]) == ["MaxLogit"]
    assert metrics["skipped"] == {
        "1-NN": "needs ID images that are in no test set (fit of the benchmark)",
        "GL-MCM": "needs patch features (features.patches: true, and a tower that has them)",
    }


def test_without_class_names_there_is_no_zero_shot_class() -> None:
    known = replace(FEATURES["known"], pooled=FEATURES["known"].image)
    features = {name: replace(found, pooled=found.image) for name, found in FEATURES.items()}
    result = run(features, methods=("MCM", "1-NN"), evidence=Evidence(None, images=known))
    assert (result.metrics["id_accuracy"], result.metrics["calibration"]) == (None, None)
    assert result.metrics["skipped"] == {"MCM": "needs class names and a text tower"}
    assert result.metrics["methods"]["1-NN"]["id_accuracy"] == 1.0  # its own classifier: each image is its neighbour
    assert result.scores["predicted"].null_count == 8


def test_scores_name_every_image() -> None:
    table = run().scores
    assert table.column_names == ["set", "key", "label", "predicted", "MaxLogit", "CLIPN-CTW"]
    assert table["set"].to_pylist() == ["known"] * 4 + ["near"] * 2 + ["far"] * 2
    assert table["label"].to_pylist() == [0, 0, 1, 1, None, None, None, None]
    assert table["predicted"].to_pylist()[:4] == [0, 0, 1, 0]


def test_images_that_are_left_out_do_not_count() -> None:
    result = run(left_out={"near": {"0"}, "far": set()})
    assert result.metrics["left_out"] == {"near": 1, "far": 0}
    assert result.metrics["images"] == {"known": 4, "near": 1, "far": 2}
    assert result.metrics["methods"]["MaxLogit"]["ood"]["near"]["auroc"] == 1.0
    rows = zip(result.scores["set"].to_pylist(), result.scores["key"].to_pylist(), strict=True)
    assert [key for name, key in rows if name == "near"] == ["1"]


def test_what_is_left_out_has_to_be_there_and_not_everything() -> None:
    with pytest.raises(InvalidData, match="set 'near' has no image '7', which is to be left out; run 'dvc repro'"):
        run(left_out={"near": {"0", "7"}})
    with pytest.raises(InvalidData, match="'far' of benchmark 'toy' holds no images but duplicates, which overlap"):
        run(left_out={"far": {"0", "1"}})


def test_an_empty_set_is_named() -> None:
    empty = FeatureBatch([], np.empty((0, 3), np.float16), label=np.empty(0, np.int32))
    with pytest.raises(InvalidData, match="set 'far' of benchmark 'toy' holds no images"):
        run({**FEATURES, "far": empty})


def test_id_images_need_classes() -> None:
    unlabelled = replace(FEATURES["known"], label=np.full(4, -1, np.int32))
    with pytest.raises(InvalidData, match="ID set 'known' of benchmark 'toy' has images without a class"):
        run({**FEATURES, "known": unlabelled})


def test_a_nan_is_traced_to_method_set_and_image() -> None:
    near = replace(FEATURES["near"], image=np.array([[1, 0, 0], [np.nan, 0, 0]], np.float16))
    with pytest.raises(NonFinite, match="MaxLogit gave nan for image '1' of set 'near'"):
        run({**FEATURES, "near": near})
