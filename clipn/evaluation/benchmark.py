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
from clipn.scores import Evidence
from clipn.scores.panel import BLOCK, BySeed, Panel, Scored, kinds_in

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


def measure(
    name: str,
    benchmark: BenchmarkParams,
    load: Callable[[str], FeatureBatch],
    evidence: Evidence,
    methods: Sequence[str],
    fpr_convention: str = "id-interpolated",
    *,
    replicates: int = 1000,
    left_out: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """Score the ID set and every OOD set of a benchmark with every method that can be fitted.

    `clipn.evaluation.evaluate` is the same for feature stores and gathers the evidence too.

    Args:
        name: of the benchmark.
        benchmark: names of its sets.
        load: set name → its image features; called once a set, of which one is in memory at a time.
        evidence: of the ID classes.
        methods: names in `clipn.scores.REGISTRY`; those that lack what they need are named in `skipped`.
        fpr_convention: one of `clipn.metrics.CONVENTIONS`.
        replicates: resamples behind the 95 % intervals.
        left_out: OOD set → keys of images that do not count, such as duplicates of ID images.

    Raises:
        InvalidData: a set is empty or lacks an image that is to be left out, or the ID set has no labels.
        NonFinite: a score is NaN or infinite; names method, image and set.
    """
    sets = (benchmark.id, *benchmark.ood)
    dropped = {set_name: (left_out or {}).get(set_name, ()) for set_name in benchmark.ood}

    def loaded(set_name: str) -> FeatureBatch:
        batch = _without(load(set_name), set_name, dropped.get(set_name, ()))
        if not len(batch):
            reason = " but duplicates, which overlap.leave_out drops" if dropped.get(set_name) else ""
            raise InvalidData(f"set {set_name!r} of benchmark {name!r} holds no images{reason}")
        return batch

    id_batch = loaded(benchmark.id)
    if (_labels(id_batch) < 0).any():
        raise InvalidData(f"the ID set {benchmark.id!r} of benchmark {name!r} has images without a class")
    by_seed: BySeed = dict.fromkeys((None,) if evidence.no is None else (None, 0), evidence)
    panel = Panel.fit(methods, by_seed, kinds_in(id_batch))
    results = {benchmark.id: _score_set(benchmark.id, id_batch, evidence, panel)}
    del id_batch  # patch features of two sets would not fit in memory
    for set_name in benchmark.ood:
        results[set_name] = _score_set(set_name, loaded(set_name), evidence, panel)

    id_scores = results[benchmark.id]
    named = evidence.yes is not None
    table = pa.table(
        {
            "set": pa.array([set_name for set_name in sets for _ in results[set_name].keys], pa.string()),
            "key": pa.array([key for set_name in sets for key in results[set_name].keys], pa.string()),
            "label": _nullable(np.concatenate([results[set_name].labels for set_name in sets])),
            "predicted": _nullable(np.concatenate([results[set_name].predicted for set_name in sets])),
            **{
                method: np.concatenate([results[set_name].methods[method].values for set_name in sets])
                for method in panel.methods
            },
        }
    )
    correct = id_scores.predicted == id_scores.labels
    return Evaluation(
        metrics={
            "benchmark": name,
            "id": benchmark.id,
            "ood": list(benchmark.ood),
            "fpr_convention": fpr_convention,
            "id_accuracy": float(correct.mean()) if named else None,
            "calibration": calibration.reliability(id_scores.confidence, correct).as_json() if named else None,
            "logit_scale": evidence.logit_scale,
            "images": {set_name: len(results[set_name].keys) for set_name in sets},
            "left_out": {set_name: len(dropped[set_name]) for set_name in benchmark.ood},
            "skipped": dict(panel.skipped),
            "methods": {
                method: _result(method, benchmark, results, fpr_convention, replicates) for method in panel.methods
            },
        },
        scores=table,
    )


@dataclass(frozen=True)
class _SetScores:
    """One set of N images, scored.

    Attributes:
        labels, predicted: class indices [N], -1 without.
        confidence: probability of the predicted class [N].
        methods: what each method says.
    """

    keys: Sequence[str]
    labels: NDArray[np.int32]
    predicted: NDArray[np.int32]
    confidence: NDArray[np.float32]
    methods: Mapping[str, Scored]


def _score_set(set_name: str, batch: FeatureBatch, evidence: Evidence, panel: Panel) -> _SetScores:
    """Score one set with every method, and classify its images zero-shot."""
    try:
        judged = panel.judge([batch])
    except NonFinite as error:
        raise NonFinite(f"{error} of set {set_name!r}") from error
    predicted = np.full(len(batch), -1, np.int32)
    confidence = np.zeros(len(batch), np.float32)
    if evidence.yes is not None:
        for start in range(0, len(batch), BLOCK):
            block = slice(start, start + BLOCK)
            images = scores.features_of(batch.rows(block), "image")
            probability = softmax(evidence.logit_scale * (images @ evidence.yes.T), axis=1)
            predicted[block], confidence[block] = probability.argmax(axis=1), probability.max(axis=1)
    return _SetScores(
        keys=list(batch.keys),
        labels=_labels(batch),
        predicted=predicted,
        confidence=confidence,
        methods={method: every[0] for method, every in judged.items()},
    )


def _result(
    method: str, benchmark: BenchmarkParams, results: Mapping[str, _SetScores], fpr_convention: str, replicates: int
) -> dict[str, Any]:
    """What one method reached on all OOD sets."""
    id_set = results[benchmark.id]
    id_scores = id_set.methods[method]
    ood_scores = {set_name: results[set_name].methods[method] for set_name in benchmark.ood}
    ood_values = {set_name: scored.values for set_name, scored in ood_scores.items()}
    intervals = bootstrap.intervals(
        id_scores.values, ood_values, replicates=replicates, seed=REPLICATE_SEED, fpr_convention=fpr_convention
    )
    measured = {set_name: metrics.measures(id_scores.values, values) for set_name, values in ood_values.items()}
    average = {key: float(np.mean([m[key] for m in measured.values()])) for key in next(iter(measured.values()))}
    result: dict[str, Any] = {
        "trained": scores.is_trained(method),
        "needs": sorted(scores.REGISTRY[method].needs),
        "id_accuracy": None if id_scores.classes is None else metrics.accuracy(id_scores.classes, id_set.labels),
        "ood": {set_name: {**measured[set_name], **intervals[set_name].as_json()} for set_name in benchmark.ood},
        "average": {**average, **intervals[AVERAGE].as_json()},
    }
    if id_scores.keeps is not None:
        # A score that decides alone is a probability of being ID, so that it can be right or wrong as one.
        together = np.concatenate(list(ood_values.values()))
        result["decision"] = {
            "id_kept": float(id_scores.keeps.mean()),
            "ood_refused": {name: 1 - float(s.keeps.mean()) for name, s in ood_scores.items() if s.keeps is not None},
            "calibration_error": calibration.balanced_error(id_scores.values, together),
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
