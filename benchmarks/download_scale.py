"""How the download stage behaves on many images: throughput, where the time goes, and memory over time.

A loopback server gives a few distinct JPEGs under many addresses, listed in a TSV of CC3M's form; a share of
the addresses is gone. The stages' own code runs: `captions`, `download` with img2dataset, and `features` with a
tower of one layer. The server takes part of the same cores, so a real network may well be faster.

    python benchmarks/download_scale.py --images 100000
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from clipn import config
from clipn.data.captions import prepare
from clipn.data.download.server import LoopbackServer
from clipn.project import profiles
from clipn.project.params import parse_params

MIB = 2**20
SIDES = (480, 360)
GONE = 20
"""Every so many addresses, one is a 404."""
TOWER: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"layers": 1, "width": 64, "head_width": 32, "patch_size": 32, "image_size": 224},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def make_images(folder: Path, count: int) -> list[Path]:
    """JPEGs of some 30 kB: smooth colours with a little noise, as photographs are."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    files = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(SIDES, Image.Resampling.BICUBIC), np.float32)
        pixels = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{i:05d}.jpg")
        Image.fromarray(pixels).save(files[-1], quality=85)
    return files


def serve(files: list[Path], images: int, pipe: Connection) -> None:
    """Give the port away, then serve until the other side hangs up."""
    missing = files[0].with_name("gone.jpg")
    with LoopbackServer([missing if i % GONE == 7 else files[i % len(files)] for i in range(images)]) as server:
        pipe.send(server.host_and_port)
        pipe.recv()


def run_download(folder: Path, params: config.DownloadParams, processes: int, threads: int) -> None:
    """The download stage; its report goes to a file."""
    from clipn.data.download.download import download

    report = download(
        folder / "captions" / prepare.FILE_NAME, folder / "download", params, processes=processes, threads=threads
    )
    (folder / "report.json").write_text(json.dumps(report))


def run_features(folder: Path, workers: int) -> None:
    """The features stage, shard by shard; the sums go to a file."""
    import open_clip
    import torch

    from clipn.features.shards import describe, encode_shard, plan
    from clipn.models import backbone
    from clipn.training.pretrain import preprocess_cfg

    torch.manual_seed(0)
    backbone.save(open_clip.model.CLIP(**TOWER), TOWER, preprocess_cfg(TOWER), folder / "clip")
    clip = backbone.load(folder / "clip")
    params = parse_params(profiles.compose("miniature", ["features.batch_size=256"])).features
    meta = describe(clip, params, "training")
    rows, seconds = 0, dict[str, float]()
    for task in plan(folder / "download", folder / "download" / "shards", folder / "features"):
        report = encode_shard(task, clip, meta, params, workers=workers)
        rows += report.rows
        for phase, value in report.seconds.items():
            seconds[phase] = seconds.get(phase, 0) + value
    (folder / "features.json").write_text(json.dumps({"rows": rows, "seconds": seconds}))


def watched(target: Callable[..., None], *arguments: Any) -> tuple[float, list[float]]:
    """Run in a process of its own. Returns seconds, and the memory of it and its children in MiB, twice a second.

    Memory is the sum of the proportional set sizes, which counts pages that processes share once.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    start = time.perf_counter()
    process.start()
    samples = []
    while process.is_alive():
        total = 0
        for member in [psutil.Process(process.pid), *_children(process.pid)]:
            try:
                total += member.memory_full_info().pss
            except psutil.Error:
                continue
        samples.append(total / MIB)
        process.join(0.5)
    if process.exitcode:
        raise SystemExit(f"{target.__name__} ended with exit status {process.exitcode}")
    return time.perf_counter() - start, samples


def _children(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def by_quarter(samples: list[float]) -> str:
    """Median memory in each quarter of a run, and the peak."""
    quarters = [part.tolist() for part in np.array_split(np.array(samples), 4)]
    return " → ".join(f"{statistics.median(q):.0f}" for q in quarters if q) + f" MiB, peak {max(samples):.0f} MiB"


def per_image(files: list[Path], params: config.DownloadParams) -> dict[str, float]:
    """Milliseconds of one core for an image: what img2dataset calls resizing has three parts."""
    import cv2

    spent = {"decode": 0.0, "resize": 0.0, "encode": 0.0}
    cv2.setNumThreads(1)
    for file in files[:300]:
        data = np.frombuffer(file.read_bytes(), np.uint8)
        marks = [time.thread_time()]
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        marks.append(time.thread_time())
        scale = params.image_size / min(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        marks.append(time.thread_time())
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, params.encode_quality])
        marks.append(time.thread_time())
        for phase, (before, after) in zip(spent, pairwise(marks), strict=True):
            spent[phase] += after - before
    return {phase: 1000 * value / min(len(files), 300) for phase, value in spent.items()}


def write_list(folder: Path, address: str, images: int) -> Path:
    """A TSV as CC3M's: caption, address, no header."""
    with (folder / "list.tsv").open("w") as table:
        table.writelines(f"picture number {i}\thttp://{address}/{i}.jpg\n" for i in range(images))
    return folder / "list.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--distinct", type=int, default=2_000)
    parser.add_argument("--per-shard", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--features", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()

    params = dataclasses.replace(
        parse_params(profiles.compose("cc3m")).download,
        samples_per_shard=options.per_shard,
        private_addresses=True,
        min_success=0.9,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make_images(folder / "images", options.distinct)
        load = os.getloadavg()[0]
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve, args=(files, options.images, theirs), daemon=True)
        server.start()
        os.environ["CLIPN_CC3M_TSV"] = str(write_list(folder, ours.recv(), options.images))
        start = time.perf_counter()
        world = parse_params(profiles.compose("miniature")).world
        params_of_list = config.CaptionsParams("cc3m", "unused", "unused")
        prepare.prepare_captions(params_of_list, world, folder / "captions", cache=folder)
        captions_seconds = time.perf_counter() - start
        seconds, memory = watched(run_download, folder, params, options.processes, options.threads)
        server_seconds = sum(psutil.Process(server.pid).cpu_times()[:2])
        ours.send("stop")
        report = json.loads((folder / "report.json").read_text())
        parts = per_image(files, params)
        kilobytes = statistics.mean(file.stat().st_size for file in files) / 1000
        print_head(options, kilobytes, load)
        print(f"captions  {captions_seconds:8.1f} s")
        print_download(options, seconds, memory, report, server_seconds)
        print("  of a core, for one image: " + ", ".join(f"{phase} {value:.2f} ms" for phase, value in parts.items()))
        if options.features:
            seconds, memory = watched(run_features, folder, options.processes)
            print_features(seconds, memory, json.loads((folder / "features.json").read_text()))


def print_head(options: argparse.Namespace, kilobytes: float, load: float) -> None:
    width, height = SIDES
    print(f"{options.images} addresses of {options.distinct} JPEGs ({width}x{height}, {kilobytes:.0f} kB each),")
    print(f"{len(os.sched_getaffinity(0))} cores, {options.processes} processes of {options.threads} threads,")
    print(f"{options.per_shard} images a shard; load of the machine {load:.1f} before, {os.getloadavg()[0]:.1f} after")


def print_download(
    options: argparse.Namespace, seconds: float, memory: list[float], report: dict[str, Any], server_seconds: float
) -> None:
    workers = report["worker_seconds"]
    print(f"download  {seconds:8.1f} s  {options.images / seconds:6.0f} addresses/s  {report['counts']}", flush=True)
    print(f"  memory of the process and its children by quarter of the time: {by_quarter(memory)}")
    print(f"  errors: {report['errors']}")
    for phase, value, what in (
        ("network", workers["network"], f"seconds of {options.threads} threads in each process: waiting, reading"),
        ("resize", workers["resize"], "seconds of processes: decode, resize, encode"),
        ("write", workers["write"], "seconds of processes: Parquet"),
        ("shard", workers["shard"], "seconds of processes, from start to end of each shard"),
        (
            "verify",
            report["seconds"]["verify"],
            "seconds of the stage, mostly beside the downloads: check, tar, manifest",
        ),
        ("server", server_seconds, "seconds of a core, taken by the benchmark's own server"),
    ):
        print(f"  {phase:8}{value:9.1f}  {1000 * value / options.images:7.2f} ms each  {what}")
    share = (workers["resize"] + workers["write"]) / workers["shard"]
    print(
        f"  {share:.0%} of a process is resizing and writing; the rest waits for the network or for a core", flush=True
    )


def print_features(seconds: float, memory: list[float], features: dict[str, Any]) -> None:
    rows = features["rows"]
    print(f"features  {seconds:8.1f} s  {rows / seconds:6.0f} images/s  {rows} rows")
    print(f"  memory by quarter of the time: {by_quarter(memory)}")
    for phase, value in features["seconds"].items():
        print(f"  {phase:16}{value:9.1f}  {1000 * value / rows:7.2f} ms each")


if __name__ == "__main__":
    main()
