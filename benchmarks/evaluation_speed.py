"""Seconds and memory of every score in an evaluation of ImageNet's size, on random features.

    python -m benchmarks.evaluation_speed [--device cuda] [--json FILE] [--methods MCM k-NN]
        [--images 50000] [--classes 1000] [--words 98946] [--fit-images 50000] [--features 512] [--patches 0]

One ID set of `--images`, and four OOD sets of a fifth of them each. ID images, class texts and the ID images that
scores are fitted to are noise around one centre a class, OOD images and words are noise alone; all have unit norm and
are float16, as in a feature store. Features before the projection have the same length as those after it.

Each score is fitted, scores all five sets in blocks as the evaluation does, with its own decisions and classes, and
is measured with 1,000 bootstrap resamples. Scores that share a linear probe are fitted after the first one of them,
so the first one pays for all. GL-MCM needs `--patches`, such as 49; they take that many times the memory of the images.
`Probe-LBFGS`, which fits its probe fifteen times on the CPU, is only measured where `--methods` names it.

Memory is what a score takes beside the features: the peak of resident memory over what was there before, and the peak
of PyTorch's allocations on the GPU, where what a fitted score keeps there is part of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table

from benchmarks import card, results
from clipn import metrics
from clipn.features.rows import FeatureBatch
from clipn.metrics import bootstrap
from clipn.scores import REGISTRY, Evidence
from clipn.scores.clip_probe import ProbeLBFGS
from clipn.scores.panel import Panel, kinds_in
from clipn.scores.word_features import WordFeatures
from clipn.utils import memory
from clipn.utils.arrays import Array, unit_norm

OOD_SETS = 4
SPREAD = 4.0
"""Norm of the noise around a centre of norm 1, so that no score tells all images apart."""
REPLICATES = 1000
CONVENTION = "id-interpolated"


@dataclass(frozen=True)
class Figures:
    """What one score took, in seconds and bytes, and its average AUROC over the OOD sets."""

    fit_seconds: float
    score_seconds: float
    metrics_seconds: float
    cpu_bytes: int
    gpu_bytes: int
    auroc: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=50_000, help="of the ID set")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--words", type=int, default=98_946)
    parser.add_argument("--fit-images", type=int, default=50_000, help="ID images that scores are fitted to")
    parser.add_argument("--features", type=int, default=512, help="length of a feature")
    parser.add_argument("--patches", type=int, default=0, help="patch features of each image")
    parser.add_argument("--methods", nargs="+", default=[name for name in REGISTRY if name != ProbeLBFGS.name])
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = unit_norm(rng.standard_normal((options.classes, options.features), np.float32))
    evidence = Evidence(
        yes=unit_norm(centres + noise(rng, len(centres), options.features)),
        no=noise(rng, len(centres), options.features),
        words=word_list(rng, options.words, options.features),
        images=id_images(rng, centres, options.fit_images),
        device=options.device,
    )
    sets = {
        "id": id_images(rng, centres, options.images, options.patches),
        **{
            f"ood {i}": ood_images(rng, options.images // 5, options.features, options.patches) for i in range(OOD_SETS)
        },
    }
    kinds = kinds_in(sets["id"])
    figures: dict[str, Figures] = {}
    skipped: dict[str, str] = {}
    for number, name in enumerate(options.methods, 1):
        progress = f"{number} of {len(options.methods)}: {name}"
        print(progress, flush=True)
        before = start_memory(options.device)
        start = time.perf_counter()
        panel = Panel.fit([name], {None: evidence, 0: evidence}, kinds)
        finish(options.device)
        fitted = time.perf_counter()
        if name in panel.skipped:
            skipped[name] = panel.skipped[name]
            print(f"{progress} {skipped[name]}", flush=True)
            continue
        values = {set_name: panel.judge([batch])[name][0].values for set_name, batch in sets.items()}
        scored = time.perf_counter()
        auroc = measure(values)
        end = time.perf_counter()
        cpu, gpu = (peak - first for peak, first in zip(peak_memory(options.device), before, strict=True))
        figures[name] = Figures(fitted - start, scored - fitted, end - scored, cpu, gpu, auroc)
        del panel
        print(f"{progress}, {end - start:.1f} s", flush=True)
    Console(width=120).print(table(figures))
    if options.json:
        sizes = {
            **{
                key: getattr(options, key)
                for key in ("images", "classes", "words", "fit_images", "features", "patches")
            },
            "ood_images": OOD_SETS * (options.images // 5),
        }
        of_scores = {name: asdict(of_score) for name, of_score in figures.items()}
        results.write(
            options.json, options.device, {"evaluation": {"sizes": sizes, "scores": of_scores, "skipped": skipped}}
        )


def noise(rng: np.random.Generator, count: int, size: int) -> Array:
    return unit_norm(rng.standard_normal((count, size), np.float32))


def id_images(rng: np.random.Generator, centres: Array, count: int, patches: int = 0) -> FeatureBatch:
    label = (np.arange(count) % len(centres)).astype(np.int32)
    return batch(rng, unit_norm(centres[label] + SPREAD * noise(rng, count, centres.shape[1])), patches, label)


def ood_images(rng: np.random.Generator, count: int, size: int, patches: int) -> FeatureBatch:
    return batch(rng, noise(rng, count, size), patches, np.full(count, -1, np.int32))


def batch(rng: np.random.Generator, features: Array, patches: int, label: np.ndarray) -> FeatureBatch:
    image = features.astype(np.float16)
    of_patches = None
    if patches:
        of_patches = np.stack([noise(rng, patches, features.shape[1]).astype(np.float16) for _ in features])
    keys = [str(row) for row in range(len(image))]
    return FeatureBatch(keys, image, label=label, pooled=image, patches=of_patches)


def word_list(rng: np.random.Generator, count: int, size: int) -> WordFeatures:
    """Words of which each fifth is an adjective, and each other fifth a phrase."""
    kinds = [("noun", "noun", "noun", "adjective", "phrase")[i % 5] for i in range(count)]
    return WordFeatures(tuple(f"word {i}" for i in range(count)), tuple(kinds), ("",) * count, noise(rng, count, size))


def measure(values: Mapping[str, Array]) -> float:
    """Return the average AUROC, after all measures and intervals of an evaluation are computed."""
    id_values = values["id"]
    ood = {name: of_set for name, of_set in values.items() if name != "id"}
    bootstrap.intervals(id_values, ood, replicates=REPLICATES, seed=0, fpr_convention=CONVENTION)
    return float(np.mean([metrics.measures(id_values, of_set)["auroc"] for of_set in ood.values()]))


def finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def start_memory(device: str) -> tuple[int, int]:
    """Forget the peaks so far, and return the bytes that are taken on the CPU and on the GPU."""
    memory.release_free_blocks()
    Path("/proc/self/clear_refs").write_text("5")  # of Linux: the peak of resident memory begins anew
    return peak_memory("cpu")[0], card.allocated_anew(device)


def peak_memory(device: str) -> tuple[int, int]:
    """Return the peaks in bytes, on the CPU and on the GPU."""
    lines = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return resident * 1024, card.peak_allocated(device)


def table(figures: Mapping[str, Figures]) -> Table:
    heads = ("fit, s", "score, s", "metrics, s", "all, s", "CPU, GB", "GPU, GB", "AUROC")
    shown = Table("score", *(Column(head, justify="right") for head in heads))
    for name, of_score in figures.items():
        seconds = (of_score.fit_seconds, of_score.score_seconds, of_score.metrics_seconds)
        taken = (of_score.cpu_bytes, of_score.gpu_bytes)
        numbers = [f"{value:.2f}" for value in (*seconds, sum(seconds), *(value / 1e9 for value in taken))]
        shown.add_row(name, *numbers, f"{of_score.auroc:.4f}")
    return shown


if __name__ == "__main__":
    main()
