"""Seconds of the exact search for the nearest ID images, beside scikit-learn and faiss, in one run.

    python -m benchmarks.neighbours_speed [--images 50000] [--queries 8192] [--features 512] [--neighbours 10]
        [--device cpu]

- clipn: `k-NN`, from unfitted features to scores: normalising, all cosines in blocks, the nearest, their mean.
- scikit-learn: `NearestNeighbors(metric="cosine", algorithm="brute")`, fitted, then `kneighbors`.
- scikit-learn, Euclidean: the same with unit-norm features and squared distances, which it is faster at.
- faiss: `IndexFlatIP` on unit-norm features; only where faiss can be imported.

All get the same features and must find the same cosines. They take turns, so that whatever else the machine does
falls on all of them alike. Features are normal numbers around 100 centres, in random order.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import NearestNeighbors

from clipn.features.rows import FeatureBatch
from clipn.scores.base import Evidence
from clipn.scores.knn import KNN, TEMPERATURE
from clipn.utils.arrays import Array, unit_norm

try:
    import faiss
except ImportError:
    faiss = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=8192)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--neighbours", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="of clipn; the others use the CPU")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, options.features)).astype(np.float32)
    id_features, queries = (draw(rng, centres, count) for count in (options.images, options.queries))
    k = options.neighbours
    searches: dict[str, Callable[[], Array]] = {
        "clipn": lambda: clipn_scores(id_features, queries, k, options.device),
        "scikit-learn": lambda: soft_maximum(scikit_learn(id_features, queries, k)),
        "scikit-learn, Euclidean": lambda: soft_maximum(scikit_learn_euclidean(id_features, queries, k)),
    }
    if faiss is not None:
        searches["faiss"] = lambda: soft_maximum(flat_index(id_features, queries, k))
    seconds: dict[str, list[float]] = {search: [] for search in searches}
    expected = searches["clipn"]()
    for _ in range(options.rounds):
        for search, run in searches.items():
            start = time.perf_counter()
            scores = run()
            seconds[search].append(time.perf_counter() - start)
            if not np.allclose(scores, expected, atol=1e-4):
                raise RuntimeError(f"{search} found other neighbours than clipn")
    show(seconds, f"{k} nearest of {options.images} × {options.features} for {options.queries} queries")


def draw(rng: np.random.Generator, centres: Array, count: int) -> Array:
    noise = rng.normal(size=(count, centres.shape[1])).astype(np.float32)
    return 0.5 * centres[rng.integers(len(centres), size=count)] + noise


def clipn_scores(id_features: Array, queries: Array, k: int, device: str) -> Array:
    keys = range(len(id_features))
    images = FeatureBatch([str(key) for key in keys], id_features, pooled=id_features)
    return KNN(k).fit(Evidence(yes=None, images=images, device=device)).score(queries)


def scikit_learn(id_features: Array, queries: Array, k: int) -> Array:
    index = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute", n_jobs=-1).fit(id_features)
    return 1 - index.kneighbors(queries)[0]


def scikit_learn_euclidean(id_features: Array, queries: Array, k: int) -> Array:
    index = NearestNeighbors(n_neighbors=k, metric="sqeuclidean", algorithm="brute", n_jobs=-1).fit(
        unit_norm(id_features)
    )
    return 1 - index.kneighbors(unit_norm(queries))[0] / 2


def flat_index(id_features: Array, queries: Array, k: int) -> Array:
    index = faiss.IndexFlatIP(id_features.shape[1])
    index.add(unit_norm(id_features))
    return index.search(unit_norm(queries), k)[0]


def soft_maximum(cosines: NDArray[np.floating]) -> Array:
    return TEMPERATURE * np.log(np.exp((cosines - 1) / TEMPERATURE).mean(axis=1)) + 1


def show(seconds: dict[str, list[float]], title: str) -> None:
    middle = {search: statistics.median(values) for search, values in seconds.items()}
    table = Table("", "seconds, median", "lowest", "highest", "times clipn", title=title)
    for search, values in seconds.items():
        shown = (middle[search], min(values), max(values), middle[search] / middle["clipn"])
        table.add_row(search, *(f"{value:.2f}" for value in shown))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
