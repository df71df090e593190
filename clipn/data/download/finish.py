"""The end of the download stage: whether enough came, and how it gets into place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from clipn.config import DownloadParams
from clipn.data import manifest
from clipn.data.download import crawl
from clipn.data.download.work import DownloadWork, Tally
from clipn.data.manifest import SUCCESS
from clipn.errors import DownloadFailed

_REASONS_IN_MESSAGE = 8
_LOG_LINES = 15


def counts(tally: Tally, resumed: int) -> dict[str, Any]:
    """Return the part `counts` of the stage's report; `resumed` images are from an interrupted run."""
    dropped = {status: count for status, count in tally.statuses.most_common() if status != SUCCESS}
    return {
        "in": tally.statuses.total(),
        "out": tally.statuses[SUCCESS],
        "resumed": resumed,
        "dropped": dropped,
    }


def require_success(tally: Tally, work: DownloadWork, params: DownloadParams, stopped: bool = False) -> None:
    """Fail unless a large enough share of the rows has an image.

    Args:
        tally: of `work`.
        work: what has been fetched.
        params: the floor.
        stopped: the last pass did not end by itself, so that no share is enough.

    Raises:
        DownloadFailed: with the shares, the reasons and the way out.
    """
    if tally.share >= params.min_success and not stopped:
        return
    statuses = ", ".join(f"{status} {count}" for status, count in tally.statuses.most_common())
    lines = [f"{tally.share:.1%} of {tally.statuses.total()} addresses gave an image ({statuses})."]
    if stopped:
        lines.append(
            f"The last pass was stopped after download.deadline_seconds, {params.deadline_seconds} s. "
            f"Run again to go on, or raise it: good shards are kept in {work.folder}."
        )
    if tally.share < params.min_success:
        lines.append(
            f"download.min_success asks for {params.min_success:.1%}. Mend the captions or the network, or lower "
            f"download.min_success, and run again: good shards are kept in {work.folder}."
        )
    lines += [f"  {count} x {reason}" for reason, count in tally.reasons.most_common(_REASONS_IN_MESSAGE)]
    log = crawl.log_file(work.folder)
    if work.missing() and log.is_file():
        lines.append(f"The end of {log}:")
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    raise DownloadFailed("\n".join(lines))


def publish(work: DownloadWork, out: Path) -> None:
    """Put the shards into place, write the manifest last, remove the work folder.

    The tars get a second name before the work folder loses the first, so that a run that is killed in
    between finds them there and publishes again.
    """
    shutil.rmtree(out / ".shards.partial", ignore_errors=True)
    (out / ".shards.partial").mkdir()
    for tar in work.tars():
        _link(tar, out / ".shards.partial" / tar.name)
    shutil.rmtree(out / "shards", ignore_errors=True)
    (out / ".shards.partial").replace(out / "shards")
    manifest.join(out / "manifest.parquet", work.tables())
    shutil.rmtree(work.folder)


def _link(tar: Path, name: Path) -> None:
    try:
        name.hardlink_to(tar)
    except OSError:  # some network file systems know no second names
        shutil.copyfile(tar, name)
