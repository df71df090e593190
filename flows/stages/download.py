"""Stage `download`: fetch the images over HTTP into verified tars and a manifest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import get_run_logger

from clipn import paths
from clipn.data.captions import webdataset
from clipn.data.download import download
from clipn.data.download.download import Place
from clipn.data.download.rows import CaptionRows
from clipn.errors import InvalidParams
from clipn.project.params import read_params
from flows.ray import cluster
from flows.ray.cluster import Node
from flows.runtime import machine
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage

SERVE_HOST = "CLIPN_SERVE_HOST"


@stage("download")
def run() -> dict[str, Any]:
    """Fetch with img2dataset, verify every shard, try again what may still come, write the manifest."""
    params = read_params()
    captions = paths.CAPTIONS / "captions.parquet"
    report = download.download(
        captions,
        paths.DOWNLOAD,
        params.download,
        processes=machine.workers(),
        threads=machine.download_threads(),
        progress=StageProgress("images"),
        place=place(captions),
    )
    for reason, count in report["errors"].items():
        get_run_logger().info("%d without an image: %s", count, reason)
    return report


def place(captions: Path) -> Place:
    """Return this machine, or the Ray cluster. Images that are in tars are taken from there on this machine alone.

    Raises:
        ClipnError: the cluster cannot be used.
        InvalidParams: its nodes could not fetch the local files that the captions name.
    """
    if cluster.address() is None or webdataset.is_packed(captions):
        return download.THIS_MACHINE
    with cluster.connected() as nodes:
        get_run_logger().info("Downloading on a Ray cluster of %d nodes", len(nodes))
    host = os.environ.get(SERVE_HOST) or download.THIS_MACHINE.serve_host
    _require_reachable(host, cluster.elsewhere(nodes), captions)
    return Place("ray", "flows.ray.crawl", host)


def _require_reachable(host: str, far: list[Node], captions: Path) -> None:
    if host == "0.0.0.0":
        raise InvalidParams(f"{SERVE_HOST}={host} is no address that nodes can ask; name one of this machine's")
    if host == download.THIS_MACHINE.serve_host and far and CaptionRows(captions).files:
        raise InvalidParams(
            f"{captions} names files of this machine, which the node {far[0].name} cannot fetch from {host}; "
            f"set {SERVE_HOST} to an address of this machine that all nodes reach"
        )
