"""All scores of one benchmark on the same cached features."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import softmax

from clipn import metrics, scores
from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.features.store import FeatureBatch
from clipn.metrics import bootstrap, calibration
from clipn.metrics.detection import AVERAGE
from clipn.scores import Evidence, Score

BLOCK = 2048
"""Images scored at a time: bounds the memory of [images, classes] matrices and of patch features."""
REPLICATE_SEED = 0
"""Of the bootstrap: equal for all methods and runs, so that their intervals come from the same resamples."""


@dataclass(frozen=True)
class Evaluation:
    """Results of one benchmark with one trained model, or without any.

    Attributes:
        metrics: ID accuracy, calibration, and for each method its measures against each OOD set, as fractions.
        scores: one row an image: set, key, label, predicted class, and a column for each method.
    """

    metrics: dict[str, Any]
    scores: pa.Table


@dataclass(frozen=True)
class _SetScores:
    """One set, scored: keys, labels and predicted classes (-1 without), and by method what it said."""

    keys: Sequence[str]
    labels: NDArray[np.int32]
    predicted: NDArray[np.int32]
    confidence: NDArray[np.float32]
    values: Mapping[str, NDArray[np.float32]]
    kept: Mapping[str, NDArray[np.bool_]]
    classified: Mapping[str, NDArray[np.intp]]


def evaluate(
    name: str,
    benchmark: BenchmarkParams,
    load: Callable[[str], FeatureBatch],
    evidence: Evidence,
    methods: Sequence[str],
    fpr_convention: str,
    *,
    replicates: int = 1000,
    left_out: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """Score the ID set and every OOD set of `benchmark` with every method that can be fed.

    Args:
        name: of the benchmark.
        benchmark: names of its sets.
        load: set name → its image features; called once a set, of which one is in memory at a time.
        evidence: what is known of the ID classes.
        methods: names in `clipn.scores.REGISTRY`; those that lack what they need are named in `skipped`.
        fpr_convention: one of `clipn.metrics.CONVENTIONS`.
        replicates: resamples behind the 95 % intervals.
        left_out: OOD set → keys of images that do not count, such as duplicates of ID images.

    Raises:
        InvalidData: a set is empty or lacks an image that is to be left out, or the ID set has no labels.
        NonFinite: a method gave NaN or infinity; names method, set and image.
    """
    skipped: dict[str, str] = {}
    fitted: dict[str, Score] = {}
    for method in methods:
        if lacking := scores.missing(method, evidence):
            skipped[method] = f"needs {lacking}"
        else:
            fitted[method] = scores.fit(method, evidence)
    sets = (benchmark.id, *benchmark.ood)
    dropped = {set_name: (left_out or {}).get(set_name, ()) for set_name in benchmark.ood}
    found: dict[str, _SetScores] = {}
    for set_name in sets:
        batch = _without(load(set_name), set_name, dropped.get(set_name, ()))
        if not len(batch):
            reason = " but duplicates, which overlap.leave_out drops" if dropped.get(set_name) else ""
            raise InvalidData(f"set {set_name!r} of benchmark {name!r} holds no images{reason}")
        if set_name == benchmark.id:
            if (_labels(batch) < 0).any():
                raise InvalidData(f"the ID set {benchmark.id!r} of benchmark {name!r} has images without a class")
            for method in list(fitted):
                if not scores.has_features(batch, fitted[method].takes):
                    skipped[method] = f"needs {scores.FEATURES[fitted.pop(method).takes]}"
        found[set_name] = _score_set(set_name, batch, evidence, fitted)

    known = found[benchmark.id]
    named = evidence.yes is not None
    table = pa.table(
        {
            "set": pa.array([set_name for set_name in sets for _ in found[set_name].keys], pa.string()),
            "key": pa.array([key for set_name in sets for key in found[set_name].keys], pa.string()),
            "label": _nullable(np.concatenate([found[set_name].labels for set_name in sets])),
            "predicted": _nullable(np.concatenate([found[set_name].predicted for set_name in sets])),
            **{method: np.concatenate([found[set_name].values[method] for set_name in sets]) for method in fitted},
        }
    )
    correct = known.predicted == known.labels
    return Evaluation(
        metrics={
            "benchmark": name,
            "id": benchmark.id,
            "ood": list(benchmark.ood),
            "fpr_convention": fpr_convention,
            "id_accuracy": float(correct.mean()) if named else None,
            "calibration": calibration.reliability(known.confidence, correct).as_json() if named else None,
            "logit_scale": evidence.logit_scale,
            "images": {set_name: len(found[set_name].keys) for set_name in sets},
            "left_out": {set_name: len(dropped[set_name]) for set_name in benchmark.ood},
            "skipped": skipped,
            "methods": {
                method: _result(score, benchmark, found, fpr_convention, replicates) for method, score in fitted.items()
            },
        },
        scores=table,
    )


def _score_set(set_name: str, batch: FeatureBatch, evidence: Evidence, fitted: Mapping[str, Score]) -> _SetScores:
    """Every method on one set, a block of images at a time."""
    rows: list[dict[str, Any]] = []
    for start in range(0, len(batch), BLOCK):
        block = batch.rows(slice(start, start + BLOCK))
        features = {kind: scores.features_of(block, kind) for kind in {"image", *(s.takes for s in fitted.values())}}
        row: dict[str, Any] = {"values": {}, "kept": {}, "classified": {}}
        if evidence.yes is not None:
            probability = softmax(evidence.logit_scale * (features["image"] @ evidence.yes.T), axis=1)
            row["predicted"], row["confidence"] = probability.argmax(axis=1), probability.max(axis=1)
        else:
            row["predicted"], row["confidence"] = np.full(len(block), -1), np.zeros(len(block), np.float32)
        for method, score in fitted.items():
            x = features[score.takes]
            values = score.score(x)
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                key = block.keys[bad[0]]
                raise NonFinite(f"{method} gave {values[bad[0]]} for image {key!r} of set {set_name!r}")
            row["values"][method] = values.astype(np.float32)
            if isinstance(score, scores.DecidesAlone):
                row["kept"][method] = score.keeps(x)
            if isinstance(score, scores.Classifies):
                row["classified"][method] = score.predict(x)
        rows.append(row)

    def joined(field: str) -> dict[str, NDArray]:
        return {method: np.concatenate([row[field][method] for row in rows]) for method in rows[0][field]}

    return _SetScores(
        keys=list(batch.keys),
        labels=_labels(batch),
        predicted=np.concatenate([row["predicted"] for row in rows]).astype(np.int32),
        confidence=np.concatenate([row["confidence"] for row in rows]),
        values=joined("values"),
        kept=joined("kept"),
        classified=joined("classified"),
    )


def _result(
    score: Score, benchmark: BenchmarkParams, found: Mapping[str, _SetScores], fpr_convention: str, replicates: int
) -> dict[str, Any]:
    """What one method reached on all OOD sets."""
    method, known = score.name, found[benchmark.id]
    id_values = known.values[method]
    ood_values = {set_name: found[set_name].values[method] for set_name in benchmark.ood}
    intervals = bootstrap.intervals(
        id_values, ood_values, replicates=replicates, seed=REPLICATE_SEED, fpr_convention=fpr_convention
    )
    measured = {set_name: metrics.measures(id_values, values) for set_name, values in ood_values.items()}
    average = {key: float(np.mean([m[key] for m in measured.values()])) for key in next(iter(measured.values()))}
    result: dict[str, Any] = {
        "trained": scores.is_trained(method),
        "needs": sorted(score.needs),
        "id_accuracy": None,
        "ood": {set_name: {**measured[set_name], **intervals[set_name].as_json()} for set_name in benchmark.ood},
        "average": {**average, **intervals[AVERAGE].as_json()},
    }
    if method in known.classified:
        result["id_accuracy"] = metrics.accuracy(known.classified[method], known.labels)
    if method in known.kept:
        # A score that decides alone is a probability of being ID, so that it can be right or wrong as one.
        together = np.concatenate(list(ood_values.values()))
        result["decision"] = {
            "id_kept": float(known.kept[method].mean()),
            "ood_refused": {set_name: 1 - float(found[set_name].kept[method].mean()) for set_name in benchmark.ood},
            "calibration_error": calibration.balanced_error(id_values, together),
        }
    return result


def _without(batch: FeatureBatch, set_name: str, keys: Collection[str]) -> FeatureBatch:
    if not keys:
        return batch
    if missing := set(keys) - set(batch.keys):
        raise InvalidData(f"set {set_name!r} has no image {min(missing)!r}, which is to be left out; run 'dvc repro'")
    return batch.rows([i for i, key in enumerate(batch.keys) if key not in keys])


def _labels(batch: FeatureBatch) -> NDArray[np.int32]:
    assert batch.label is not None  # evaluation features always carry the column
    return batch.label


def _nullable(labels: NDArray[np.int32]) -> pa.Array:
    return pa.array(labels, pa.int32(), mask=labels < 0)
