"""Stage `download`: fetch the images over HTTP into verified tars and a manifest."""

from __future__ import annotations

from typing import Any

from clipn import config, download
from flows import machine, paths
from flows.stage import StageProgress, main, stage


@stage("download")
def run() -> dict[str, Any]:
    """Fetch with img2dataset, verify every shard, fetch damaged ones again, write the manifest."""
    params = config.load()
    return download.download(
        paths.CAPTIONS / "captions.parquet",
        paths.DOWNLOAD,
        params.download,
        processes=machine.workers(),
        threads=machine.download_threads(),
        progress=StageProgress("images"),
    )


if __name__ == "__main__":
    main(run)
