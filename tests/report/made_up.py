"""Results that are made up, so that means and deviations can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipn.config import BenchmarkParams, Params
from clipn.evaluation.results.benchmark import MEASURES
from clipn.project.params import read_params
from clipn.report.summary import AVERAGE, BenchmarkSummary, MethodSummary, Spread

SETS = {"cats": 4, "dogs": 6, "cars": 2}
"""Set → number of its images."""
BACKBONES = ("red", "green", "blue")
BENCHMARKS = {
    "small": BenchmarkParams(id="cats", ood=("dogs", "cars")),
    "tiny": BenchmarkParams(id="cats", ood=("cars",)),
}
PIPELINE = read_params(Path(__file__).parents[2] / "params.yaml")
NAMES = frozenset({"yes"})
TRAINED = frozenset({"yes", "no"})


def params(
    names: Sequence[str] = ("small", "tiny"),
    seeds: Sequence[int] = (0, 1, 2),
    *,
    benchmarks: Mapping[str, BenchmarkParams] = BENCHMARKS,
    imported: Sequence[str] = (),
    studies: Sequence[str] = (),
    study_benchmarks: Sequence[str] = (),
    attacks: Sequence[str] = (),
    robust: Sequence[str] = (),
    curves: Sequence[str] = ("CLIPN-CTW", "MSP", "1-NN"),
    published: bool = True,
) -> Params:
    """The project's parameters with what a report is made of changed: benchmarks, seeds, backbones of the study."""
    backbone = next(iter(PIPELINE.study.backbones.values()))
    return replace(
        PIPELINE,
        benchmarks=dict(benchmarks),
        train=replace(PIPELINE.train, seeds=tuple(seeds)),
        evaluate=replace(PIPELINE.evaluate, benchmarks=tuple(names), imported=tuple(imported)),
        study=replace(PIPELINE.study, backbones=dict.fromkeys(studies, backbone), benchmarks=tuple(study_benchmarks)),
        attack=replace(PIPELINE.attack, benchmarks=tuple(attacks)),
        robustness=replace(PIPELINE.robustness, benchmarks=tuple(robust)),
        report=replace(PIPELINE.report, title="Made up", published=published, curves=tuple(curves)),
    )


def measures(auroc: float, fpr95: float) -> dict[str, float]:
    """All measures of one set: AUPR half of AUROC, the other conventions .01 and .02 above the first."""
    return {
        "auroc": auroc,
        "auroc_low": max(auroc - 0.1, 0),
        "auroc_high": min(auroc + 0.1, 1),
        "aupr_in": auroc / 2,
        "aupr_out": auroc / 4,
        "fpr95_id_interpolated": fpr95,
        "fpr95_id_nearest": fpr95 + 0.01,
        "fpr95_ood_first": fpr95 + 0.02,
        "fpr95_low": max(fpr95 - 0.05, 0),
        "fpr95_high": fpr95 + 0.05,
    }


def measured(
    trained: bool, values: Mapping[str, tuple[float, float]], needs: Sequence[str] = (), **further: Any
) -> dict[str, Any]:
    """A method's part of a metrics file; OOD set → (AUROC, FPR95)."""
    ood = {name: measures(*pair) for name, pair in values.items()}
    average = {key: sum(of_set[key] for of_set in ood.values()) / len(ood) for key in MEASURES}
    needs = needs or (["no", "yes"] if trained else ["yes"])
    return {"trained": trained, "needs": list(needs), "id_accuracy": None, "ood": ood, "average": average, **further}


def method(
    name: str,
    auroc: Mapping[str, Sequence[float]],
    needs: frozenset[str] = NAMES,
    fpr95: float = 0.5,
    **further: Any,
) -> MethodSummary:
    """OOD set → AUROC of each seed; FPR95 is the same everywhere."""
    per_seed = zip(*auroc.values(), strict=True)
    with_average = {**auroc, AVERAGE: [sum(values) / len(values) for values in per_seed]}
    found: dict[str, dict[str, Spread]] = {key: {} for key in MEASURES}
    for column, values in with_average.items():
        for key in MEASURES:
            found[key][column] = Spread(tuple(measures(value, fpr95)[key] for value in values))
    return MethodSummary(name, further.pop("base", name), needs, found, "fpr95_id_interpolated", **further)


def benchmark(*methods: MethodSummary, seeds: tuple[int, ...] = (0,), **further: Any) -> BenchmarkSummary:
    """A benchmark of these methods; its sets are theirs, with three images each."""
    ood = tuple(name for name in methods[0].auroc if name != AVERAGE)
    values: dict[str, Any] = {
        "name": "small",
        "id": "cats",
        "ood": ood,
        "seeds": seeds,
        "fpr_convention": "id-interpolated",
        "fpr_key": "fpr95_id_interpolated",
        "id_accuracy": 0.75,
        "calibration": None,
        "logit_scale": 21.25,
        "templates": "symbols",
        "images": dict.fromkeys(("cats", *ood), 3),
        "methods": methods,
        **further,
    }
    return BenchmarkSummary(**values)


def run(ood: tuple[str, ...], benchmark: str, methods: dict[str, Any]) -> dict[str, Any]:
    """Content of a metrics file without a model."""
    return {
        "benchmark": benchmark,
        "id": "cats",
        "ood": list(ood),
        "fpr_convention": "id-interpolated",
        "id_accuracy": 0.75,
        "calibration": {
            "error": 0.125,
            "confidence": 0.625,
            "accuracy": 0.75,
            "bins": [
                {"confidence": 0.5, "accuracy": 0.5, "share": 0.5},
                {"confidence": 0.75, "accuracy": 1.0, "share": 0.5},
            ],
        },
        "logit_scale": 21.25,
        "templates": "symbols",
        "images": {name: SETS[name] for name in ("cats", *ood)},
        "leave_out": "none",
        "left_out": dict.fromkeys(ood, 0),
        "skipped": {},
        "methods": methods,
    }


def study(backbone: str) -> dict[str, Any]:
    """Content of a file of the feature study: 1-NN on a line over zero-shot accuracy, MCM constant, a probe of its own.

    Zero-shot accuracy .5, .6 and .7; AUROC of 1-NN .7, .8 and .9; of the probe .8, .6 and .8 at .6, .7 and .8.
    """
    i = BACKBONES.index(backbone)
    ood = ("dogs", "cars")
    probe, images = (0.8, 0.6, 0.8)[i], ["images"]
    methods = {
        "MCM": measured(False, dict.fromkeys(ood, (0.75, 0.5))),
        "1-NN": measured(False, dict.fromkeys(ood, (0.7 + i / 10, 0.5)), images),
        "Probe-MSP": measured(False, dict.fromkeys(ood, (probe, 0.5)), [*images, "labels"], id_accuracy=0.6 + i / 10),
    }
    results = {**run(ood, "small", methods), "id_accuracy": 0.5 + i / 10}
    return {
        "backbone": backbone,
        "origin": f"open_clip, {backbone}",
        "dim": 8,
        "pooled": 12,
        "benchmarks": {"small": results},
    }


def attack() -> dict[str, Any]:
    """Content of a file of the attack: with two seeds, CTW falls by 50 points, 1-NN by 80 or 20, MCM by 40."""

    def kind(weight: float, left: float) -> dict[str, Any]:
        return {
            "weight": weight,
            "cosine_before": 0.25,
            "cosine_after": 0.875,
            "change": 1.5,
            "difference_times": 4,
            "methods": {
                "1-NN": {"trained": False, "before": [0.9], "after": [left], "after_without_targets": [0.5]},
                "CLIPN-CTW": {"trained": True, "before": [0.7, 0.9], "after": [0.2, 0.4]},
                "MCM": {"trained": False, "before": [0.8], "after": [0.4]},
            },
        }

    return {
        "benchmark": "small",
        "id": "cats",
        "ood": ["dogs", "cars"],
        "images": 8,
        "steps": 250,
        "seeds": [0, 1],
        "kinds": {"patchy": kind(0.0, 0.7), "smooth": kind(5000.0, 0.1)},
    }


def robustness() -> dict[str, Any]:
    """Content of a file of the robustness study: each level costs MCM .1 and CTW, of two seeds, .2."""

    def entry(cost: int) -> dict[str, Any]:
        return {
            "id_accuracy": 0.75 - cost / 10,
            "methods": {
                "MCM": {"trained": False, "auroc": [0.9 - cost / 10]},
                "CLIPN-CTW": {"trained": True, "auroc": [0.9 - cost / 5, 0.8 - cost / 5]},
            },
        }

    corruptions = [
        {"name": name, "level": level, "where": where, **entry(cost)}
        for name, levels in (("noise", (10.0, 20.0)), ("jpeg", (50, 10)))
        for cost, level in enumerate(levels, 1)
        for where in ("id", "ood", "both")
    ]
    return {
        "benchmark": "small",
        "id": "cats",
        "ood": ["dogs", "cars"],
        "images": SETS,
        "seeds": [0, 1],
        "clean": entry(0),
        "corruptions": corruptions,
        "names": [
            {"change": "templates photo", "classes_changed": 2, **entry(0)},
            {"change": "synonyms", "classes_changed": 1, **entry(1)},
        ],
    }
