"""A small finished project, made up so that means and deviations can be worked out by hand."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipn import report
from clipn.data import manifest, tars
from clipn.report.render import pictures
from clipn.report.render.document import Picture
from clipn.utils.files import write_json, write_text
from tests.report import made_up
from tests.report.made_up import SETS, measured, run

COLOURS = {"cats": (200, 30, 30), "dogs": (30, 120, 200), "cars": (40, 160, 60)}

# seed → OOD set → (AUROC, FPR95). CTW: average AUROC .75 .80 .85 → .80 ± .05, average FPR95 .30 .25 .20 → .25 ± .05.
CTW = {
    0: {"dogs": (0.60, 0.5), "cars": (0.9, 0.1)},
    1: {"dogs": (0.70, 0.4), "cars": (0.9, 0.1)},
    2: {"dogs": (0.80, 0.3), "cars": (0.9, 0.1)},
}
# Average .81 / .3
MSP = {"dogs": (0.92, 0.2), "cars": (0.7, 0.4)}


def _baselines(ood: tuple[str, ...], benchmark: str) -> dict[str, Any]:
    found = run(ood, benchmark, {"MSP": measured(False, {name: MSP[name] for name in ood})})
    return {**found, "skipped": {"1-NN": "needs ID images that are in no test set (fit of the benchmark)"}}


def _metrics(seed: int, ood: tuple[str, ...], benchmark: str) -> dict[str, Any]:
    decision = {"id_kept": 0.5 + seed / 4, "ood_refused": dict.fromkeys(ood, 0.5), "calibration_error": 0.25}
    ctw = measured(True, {name: CTW[seed][name] for name in ood}, decision=decision)
    return {**run(ood, benchmark, {"CLIPN-CTW": ctw}), "seed": seed}


def _imported(ood: tuple[str, ...], benchmark: str) -> dict[str, Any]:
    values = _metrics(2, ood, benchmark)
    del values["seed"]
    return {**values, "imported": "released", "templates": "photo", "logit_scale": 100.0}


@pytest.fixture
def metrics() -> Callable[..., dict[str, Any]]:
    """Content of one metrics file, to change and to read; seed None gives that of the baselines."""

    def make(seed: int | None = 0, ood: tuple[str, ...] = ("dogs", "cars"), benchmark: str = "small") -> dict[str, Any]:
        return _baselines(ood, benchmark) if seed is None else _metrics(seed, ood, benchmark)

    return make


def _write_scores(path: Path, method: str, seed: int, ood: tuple[str, ...]) -> None:
    sets = [name for name in ("cats", *ood) for _ in range(SETS[name])]
    values = np.linspace(0, 1, len(sets)) if method == "MSP" else np.random.default_rng(seed).random(len(sets))
    table = {
        "set": pa.array(sets),
        "key": pa.array([f"{i:08d}" for i in range(len(sets))]),
        "label": pa.array([0 if name == "cats" else None for name in sets], pa.int32()),
        "predicted": pa.array([0] * len(sets), pa.int32()),
        method: pa.array(values, pa.float32()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path)


def _write_set(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    entries, files = [], []
    for i in range(SETS[name]):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), COLOURS[name]).save(buffer, "PNG")
        key = f"{i:08d}"
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        entries.append(manifest.Entry(key=key, url=f"{i}.png", shard="images.tar", label=i % 2, sha256=digest))
        files.append((key, {"png": buffer.getvalue()}))
    tars.write(folder / "images.tar", files)
    manifest.write(folder / "manifest.parquet", entries)
    write_json(folder / "classes.json", [f"{name} one", f"{name} two"])


def _write_overlap(root: Path, benchmark: str, ood: tuple[str, ...]) -> None:
    """One of the images of each OOD set is an ID image, and one more resembles a training image."""
    found = {"id": {"exact": 1, "near": 0}, "training": {"exact": 0, "near": 1}}
    write_json(
        root / f"reports/overlap/{benchmark}.json",
        {
            "benchmark": benchmark,
            "id": "cats",
            "ood": list(ood),
            "threshold": 0.95,
            "sets": {
                "cats": {"images": SETS["cats"], "training": {"exact": 0, "near": 0}},
                **{name: {"images": SETS[name], **found} for name in ood},
            },
        },
    )
    folder = root / "data/overlap" / benchmark
    folder.mkdir(parents=True)
    for name in ood:
        for other in found:
            Image.new("RGB", (16, 8), COLOURS[name]).save(folder / f"{name}.{other}.webp")


def _write_training(folder: Path) -> None:
    curves = {
        "loss_yes": {i: 1 / (i + 1) for i in range(5)},
        "loss_no": dict.fromkeys(range(5), 0.5),
        "loss_tso": dict.fromkeys(range(5), 1.5),
        "loss": {i: (2 + 1 / (i + 1)) / 2 for i in range(5)},
        "auroc_ctw": {1: 0.5, 3: 0.75},
        "auroc_atd": {1: 0.5, 3: 0.25},
    }
    for name, curve in curves.items():
        rows = "".join(f"{step}\t{value}\n" for step, value in curve.items())
        write_text(folder / f"{name}.tsv", f"step\t{name}\n{rows}")


def _write_project(root: Path) -> None:
    for name in SETS:
        _write_set(root / "data" / "sets" / name, name)
    for benchmark, ood in (("small", ("dogs", "cars")), ("tiny", ("cars",))):
        _write_overlap(root, benchmark, ood)
    for benchmark, ood in (("small", ("dogs", "cars")), ("tiny", ("cars",))):
        write_json(root / f"reports/metrics/{benchmark}/baselines.json", _baselines(ood, benchmark))
        _write_scores(root / f"data/scores/{benchmark}/baselines.parquet", "MSP", 0, ood)
        for seed in CTW:
            write_json(root / f"reports/metrics/{benchmark}/seed-{seed}.json", _metrics(seed, ood, benchmark))
            _write_scores(root / f"data/scores/{benchmark}/seed-{seed}.parquet", "CLIPN-CTW", seed, ood)
    for seed in CTW:
        _write_training(root / f"reports/training/seed-{seed}/plots/metrics")
    write_json(
        root / "reports/stages/download.json",
        {
            "stage": "download",
            "seconds": {"fetch": 3.0, "total": 4.5},
            "counts": {"in": 1200, "out": 1190, "dropped": {"http_404": 10}, "shards": 3},
            "versions": {"torch": "2"},
        },
    )
    write_json(
        root / "reports/stages/captions.json",
        {"stage": "captions", "seconds": {"draw": 1.0, "total": 1.5}, "counts": {"out": 1200}, "versions": {}},
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with everything the report reads: benchmarks `small` (two OOD sets) and `tiny` (one), seeds 0 to 2."""
    _write_project(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are made but not drawn, which takes most of the time."""
    monkeypatch.setattr(pictures, "svg", lambda figure, alt: Picture("data:image/svg+xml;base64,", alt, 1, 1))


@pytest.fixture
def add_imported() -> Callable[[Path], None]:
    """Adds the results of an imported model, `released`, to such a folder: those of seed 2, CTW alone."""

    def add(root: Path) -> None:
        for benchmark, ood in (("small", ("dogs", "cars")), ("tiny", ("cars",))):
            write_json(root / f"reports/metrics/{benchmark}/imported-released.json", _imported(ood, benchmark))
            _write_scores(root / f"data/scores/{benchmark}/imported-released.parquet", "CLIPN-CTW", 2, ood)

    return add


@pytest.fixture
def imported_metrics() -> dict[str, Any]:
    """Content of the metrics file of an imported model."""
    return _imported(("dogs", "cars"), "small")


def _write_further(root: Path) -> None:
    for name in made_up.BACKBONES:
        write_json(root / f"reports/study/{name}.json", made_up.study(name))
    write_json(root / "reports/attack/small.json", made_up.attack())
    folder = root / "data/attack/small"
    folder.mkdir(parents=True)
    for kind, colour in (("smooth", COLOURS["dogs"]), ("patchy", COLOURS["cars"])):
        Image.new("RGB", (32, 16), colour).save(folder / f"{kind}.png")
    write_json(root / "reports/robustness/small.json", made_up.robustness())


@pytest.fixture
def add_further() -> Callable[[Path], None]:
    """Adds a feature study, an attack and a robustness study on `small` to such a folder."""
    return _write_further


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Such a folder with everything and its report, and what `build` returned; not to be changed."""
    root = tmp_path_factory.mktemp("built")
    _write_project(root)
    _write_further(root)
    further = made_up.params(studies=made_up.BACKBONES, study_benchmarks=["small"], attacks=["small"], robust=["small"])
    result = report.build(further, root)
    return root, result
