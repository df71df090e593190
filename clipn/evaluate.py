"""All scores of one benchmark on the same cached features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipn import metrics, scores
from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.scores import Evidence, Score
from clipn.store import FeatureBatch, unit_norm

BLOCK = 8192
"""Images scored at a time: bounds the memory of [images, classes] matrices."""


@dataclass(frozen=True)
class Evaluation:
    """Results of one benchmark with one trained model.

    Attributes:
        metrics: ID accuracy, and for each method AUROC and FPR95 against each OOD set, as fractions.
        scores: one row an image: set, key, label, predicted class, and a column for each method.
    """

    metrics: dict[str, Any]
    scores: pa.Table


def evaluate(
    name: str,
    benchmark: BenchmarkParams,
    features: Mapping[str, FeatureBatch],
    evidence: Evidence,
    methods: Sequence[str],
    fpr_convention: str,
    left_out: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """Score the ID set and every OOD set of `benchmark` with every method.

    Args:
        name: of the benchmark.
        benchmark: names of its sets.
        features: set name → its image features.
        evidence: class text features of the ID classes.
        methods: names in `clipn.scores.REGISTRY`.
        fpr_convention: one of `clipn.metrics.CONVENTIONS`.
        left_out: OOD set → keys of images that do not count, such as duplicates of ID images.

    Raises:
        InvalidData: a set is empty or lacks an image that is to be left out, or the ID set has no labels.
        NonFinite: a method gave NaN or infinity; names method, set and image.
    """
    sets = (benchmark.id, *benchmark.ood)
    dropped = {set_name: (left_out or {}).get(set_name, ()) for set_name in benchmark.ood}
    features = {benchmark.id: features[benchmark.id], **{n: _without(features[n], n, dropped[n]) for n in dropped}}
    images = {set_name: unit_norm(features[set_name].image) for set_name in sets}
    for set_name in sets:
        if not len(images[set_name]):
            reason = " but duplicates, which overlap.leave_out drops" if dropped.get(set_name) else ""
            raise InvalidData(f"set {set_name!r} of benchmark {name!r} holds no images{reason}")
    labels = {set_name: _labels(features[set_name]) for set_name in sets}
    if (labels[benchmark.id] < 0).any():
        raise InvalidData(f"the ID set {benchmark.id!r} of benchmark {name!r} has images without a class")

    predicted = {
        set_name: _in_blocks(lambda x: (x @ evidence.yes.T).argmax(axis=1), images[set_name]) for set_name in sets
    }
    columns: dict[str, NDArray] = {}
    results: dict[str, Any] = {}
    for method in methods:
        score = scores.fit(method, evidence)
        values = {set_name: _in_blocks(score.score, images[set_name]) for set_name in sets}
        for set_name in sets:
            bad = np.flatnonzero(~np.isfinite(values[set_name]))
            if bad.size:
                key = features[set_name].keys[bad[0]]
                raise NonFinite(f"{method} gave {values[set_name][bad[0]]} for image {key!r} of set {set_name!r}")
        results[method] = _compare(benchmark, score, values, images, fpr_convention)
        columns[method] = np.concatenate([values[set_name] for set_name in sets]).astype(np.float32)

    table = pa.table(
        {
            "set": pa.array([set_name for set_name in sets for _ in images[set_name]], pa.string()),
            "key": pa.array([key for set_name in sets for key in features[set_name].keys], pa.string()),
            "label": _nullable(np.concatenate([labels[set_name] for set_name in sets])),
            "predicted": pa.array(np.concatenate([predicted[set_name] for set_name in sets]), pa.int32()),
            **columns,
        }
    )
    return Evaluation(
        metrics={
            "benchmark": name,
            "id": benchmark.id,
            "ood": list(benchmark.ood),
            "fpr_convention": fpr_convention,
            "id_accuracy": metrics.accuracy(predicted[benchmark.id], labels[benchmark.id]),
            "logit_scale": evidence.logit_scale,
            "images": {set_name: len(images[set_name]) for set_name in sets},
            "left_out": {set_name: len(dropped[set_name]) for set_name in benchmark.ood},
            "methods": results,
        },
        scores=table,
    )


def _compare(
    benchmark: BenchmarkParams,
    score: Score,
    values: Mapping[str, NDArray],
    images: Mapping[str, NDArray],
    fpr_convention: str,
) -> dict[str, Any]:
    id_values = values[benchmark.id]
    ood = {
        name: {
            "auroc": metrics.auroc(id_values, values[name]),
            metrics.fpr95_key(fpr_convention): metrics.fpr_at_tpr(id_values, values[name], 0.95, fpr_convention),
        }
        for name in benchmark.ood
    }
    result: dict[str, Any] = {"trained": scores.is_trained(score.name), "ood": ood}
    if isinstance(score, scores.DecidesAlone):
        keeps = {name: float(_in_blocks(score.keeps, images[name]).mean()) for name in (benchmark.id, *benchmark.ood)}
        result["decision"] = {
            "id_kept": keeps[benchmark.id],
            "ood_refused": {name: 1 - keeps[name] for name in benchmark.ood},
        }
    return result


def _without(batch: FeatureBatch, set_name: str, keys: Collection[str]) -> FeatureBatch:
    if not keys:
        return batch
    if missing := set(keys) - set(batch.keys):
        raise InvalidData(f"set {set_name!r} has no image {min(missing)!r}, which is to be left out; run 'dvc repro'")
    kept = [i for i, key in enumerate(batch.keys) if key not in keys]
    return FeatureBatch([batch.keys[i] for i in kept], batch.image[kept], label=_labels(batch)[kept])


def _in_blocks(function: Callable[[NDArray], NDArray], images: NDArray) -> NDArray:
    return np.concatenate([function(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)])


def _labels(batch: FeatureBatch) -> NDArray[np.int32]:
    assert batch.label is not None  # evaluation features always carry the column
    return batch.label


def _nullable(labels: NDArray[np.int32]) -> pa.Array:
    return pa.array(labels, pa.int32(), mask=labels < 0)
