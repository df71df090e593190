"""Seconds of the exact search for the nearest of many features, beside other ways to it, in one run.

    python -m benchmarks.neighbours_speed [--device cuda] [--images 50000] [--queries 8192] [--features 512]
        [--neighbours 10] [--rounds 5] [--json FILE]

On a GPU the default is ImageNet: 50,000 queries, and 1.28 million others.

- clipn: `clipn.features.nearest`, as `k-NN` calls it. On a GPU it has two rows: candidates are chosen by products in
  float32 in the one, and in float16, which is the default, in the other.
- topk: matrix products in float32 in blocks, the nearest of each block, and the nearest of these.
- scikit-learn: `NearestNeighbors(metric="cosine", algorithm="brute")`, fitted, then `kneighbors`. CPU only.
- scikit-learn, Euclidean: the same with squared distances, which it is faster at. CPU only.
- faiss: `IndexFlatIP`; CPU only, and only where faiss can be imported.

All get the same unit-norm features, which a GPU has in its memory, and give cosines and rows on the CPU. What they
find is compared with what topk finds: the rows of the table say at how many places another neighbour stands, and how
far the cosines are apart at most. Products of float32 differ by rounding, so nearly equal neighbours may change
places. All ways take turns, so that whatever else the machine does falls on all of them alike. Features are normal
numbers around 100 centres, in random order.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from benchmarks import card, results
from clipn.features.nearest import OTHERS, QUERIES, Nearest
from clipn.scores.knn import CPU_BLOCK
from clipn.utils.arrays import Array

try:
    import faiss
except ImportError:
    faiss = None

Ranked = tuple[NDArray[np.floating], NDArray[np.int64]]
"""Cosines and rows of the nearest, from near to far, [N, k] each."""
TOLERANCE = 1e-4
"""Cosines that differ by more are an error, not rounding."""


@dataclass
class Figures:
    """What one way took, and how its neighbours compare with those of topk.

    Attributes:
        seconds: of each round.
        gpu_bytes: peak of what was allocated beside the features; 0 on a CPU.
        other_neighbours: places of [N, k] with another neighbour.
        largest_difference: of cosines at the same place.
        repeated: queries searched again in float32; None for other ways than clipn's.
    """

    seconds: list[float]
    gpu_bytes: int
    other_neighbours: int
    largest_difference: float
    repeated: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, help="those searched; 50,000, on a GPU 1,281,167")
    parser.add_argument("--queries", type=int, help="8,192, on a GPU 50,000")
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    images = options.images or (1_281_167 if on_gpu else 50_000)
    queries = options.queries or (50_000 if on_gpu else 8192)
    k = options.neighbours

    generator = torch.Generator(options.device).manual_seed(0)
    centres = torch.randn(100, options.features, generator=generator, device=options.device)
    id_features = draw(generator, centres, images)
    of_queries = draw(generator, centres, queries).cpu().numpy()
    repeated: dict[str, int] = {}
    ways = (on_a_gpu if on_gpu else on_a_cpu)(id_features, of_queries, k, repeated)
    figures = measured(ways, options.rounds, options.device, repeated)
    title = f"{k} nearest of {images:,} × {options.features} for {queries:,} queries"
    show(figures, title)
    if options.json:
        sizes = {"images": images, "queries": queries, "features": options.features, "neighbours": k}
        ways_json = {name: asdict(of_way) for name, of_way in figures.items()}
        results.write(options.json, options.device, {"neighbours": {"sizes": sizes, "ways": ways_json}})


def draw(generator: torch.Generator, centres: Tensor, count: int) -> Tensor:
    """Return unit-norm features [count, D]."""
    device = centres.device
    noise = torch.randn(count, centres.shape[1], generator=generator, device=device)
    rows = torch.randint(len(centres), (count,), generator=generator, device=device)
    return F.normalize(noise.add_(centres[rows], alpha=0.5), dim=1)


def on_a_gpu(id_features: Tensor, queries: Array, k: int, repeated: dict[str, int]) -> dict[str, Callable[[], Ranked]]:
    def ours(name: str, coarse: torch.dtype) -> Ranked:
        return clipn(id_features, queries, k, repeated, name, len(id_features), coarse)

    return {
        "topk": partial(topk, id_features, queries, k),
        "clipn, float32": partial(ours, "clipn, float32", torch.float32),
        "clipn, candidates": partial(ours, "clipn, candidates", torch.float16),
    }


def on_a_cpu(id_features: Tensor, queries: Array, k: int, repeated: dict[str, int]) -> dict[str, Callable[[], Ranked]]:
    others = id_features.numpy()
    ways: dict[str, Callable[[], Ranked]] = {
        "topk": partial(topk, id_features, queries, k),
        "clipn": partial(clipn, id_features, queries, k, repeated, "clipn", CPU_BLOCK),
        "scikit-learn": partial(scikit_learn, others, queries, k, "cosine", 1.0),
        "scikit-learn, Euclidean": partial(scikit_learn, others, queries, k, "sqeuclidean", 0.5),
    }
    if faiss is not None:
        ways["faiss"] = partial(flat_index, others, queries, k)
    return ways


def clipn(
    id_features: Tensor,
    queries: Array,
    k: int,
    repeated: dict[str, int],
    name: str,
    block: int,
    coarse: torch.dtype | None = None,
) -> Ranked:
    search = Nearest(queries, -np.inf, k, id_features.device, coarse)
    for part in id_features.split(block):
        search.add(part)
    repeated[name] = search.repeated
    return search.ranked()


def topk(id_features: Tensor, queries: Array, k: int) -> Ranked:
    cosines, rows = [], []
    for some in torch.from_numpy(queries).to(id_features.device).split(QUERIES):
        of_blocks = [
            (values, index + number * OTHERS)
            for number, block in enumerate(id_features.split(OTHERS))
            for values, index in [(some @ block.T).topk(min(k, len(block)), dim=1)]
        ]
        values, index = (torch.cat(parts, dim=1) for parts in zip(*of_blocks, strict=True))
        best, order = values.topk(k, dim=1)
        cosines.append(best)
        rows.append(index.gather(1, order))
    return torch.cat(cosines).cpu().numpy(), torch.cat(rows).cpu().numpy()


def scikit_learn(id_features: Array, queries: Array, k: int, metric: str, factor: float) -> Ranked:
    index = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute", n_jobs=-1).fit(id_features)
    distances, rows = index.kneighbors(queries)
    return 1 - factor * distances, rows


def flat_index(id_features: Array, queries: Array, k: int) -> Ranked:
    index = faiss.IndexFlatIP(id_features.shape[1])
    index.add(id_features)
    return index.search(queries, k)


def measured(
    ways: dict[str, Callable[[], Ranked]], rounds: int, device: str, repeated: dict[str, int]
) -> dict[str, Figures]:
    """Run all ways once to compare what they find, then in turns to take their times."""
    figures: dict[str, Figures] = {}
    expected: Ranked | None = None
    for name, way in ways.items():
        before = card.allocated_anew(device)
        cosine, row = way()
        expected = expected or (cosine, row)
        difference = float(np.abs(cosine - expected[0]).max())
        if difference > TOLERANCE:
            raise RuntimeError(f"{name} found other neighbours than topk: their cosines differ by {difference:.2g}")
        others = int((row != expected[1]).sum())
        figures[name] = Figures([], card.peak_allocated(device) - before, others, difference, repeated.get(name))
        print(f"{name}: {others} of {row.size} places with another neighbour than topk's", flush=True)
    for number in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            figures[name].seconds.append(time.perf_counter() - start)
        print(f"round {number + 1} of {rounds}", flush=True)
    return figures


def show(figures: dict[str, Figures], title: str) -> None:
    heads = ("seconds, median", "lowest", "highest", "GPU memory, GB", "other neighbours", "cosines apart", "again")
    table = Table("", *(Column(head, justify="right") for head in heads), title=title)
    for name, way in figures.items():
        seconds = [f"{f(way.seconds):.2f}" for f in (statistics.median, min, max)]
        differences = (f"{way.other_neighbours:,}", f"{way.largest_difference:.1g}")
        again = "" if way.repeated is None else f"{way.repeated:,}"
        table.add_row(name, *seconds, f"{way.gpu_bytes / 1e9:.1f}", *differences, again)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
