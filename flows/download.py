"""Stage `download`: fetch the images over HTTP into verified tars and a manifest."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger

from clipn import config, download
from flows import machine, paths
from flows.stage import StageProgress, stage


@stage("download")
def run() -> dict[str, Any]:
    """Fetch with img2dataset, verify every shard, try again what may still come, write the manifest."""
    params = config.load()
    report = download.download(
        paths.CAPTIONS / "captions.parquet",
        paths.DOWNLOAD,
        params.download,
        processes=machine.workers(),
        threads=machine.download_threads(),
        progress=StageProgress("images"),
    )
    for reason, count in report["errors"].items():
        get_run_logger().info("%d without an image: %s", count, reason)
    return report
