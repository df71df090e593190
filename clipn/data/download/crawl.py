"""Running img2dataset as a child process that ends when it should.

img2dataset exits with 0 after failures and signals, and waits for ever if one of its workers dies. So it
runs in a process group of its own with a deadline, and with the fetch policy in each of its workers.
Whether it did its work is for `clipn.data.download.shards` to find out.

The child may be another module than this one, which prepares what this package does not know (a cluster,
say) and then calls `main`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import Enum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from clipn.data import images
from clipn.data.download.policy import FetchPolicy
from clipn.errors import MissingInput
from clipn.utils import processes

_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.1
_SPARE_SECONDS = 300.0
"""Besides its addresses: to start processes, to cut millions of rows into shards, to write a shard."""
OWN_NAMES = ("__main__", "__mp_main__")
"""Of the module that the child runs: img2dataset spawns processes, and a spawned one imports it by the second."""


class End(Enum):
    """How a run of img2dataset ended; whether it did its work says neither this nor its exit status."""

    BY_ITSELF = "by itself"
    DEADLINE = "deadline"
    STALLED = "stalled"


def run(
    arguments: Mapping[str, Any],
    policy: FetchPolicy,
    work: Path,
    *,
    shard_seconds: float,
    deadline_seconds: float,
    tick: Callable[[], int],
    module: str = "clipn.data.download.crawl",
) -> End:
    """Call `img2dataset.download(**arguments)` in a child process and wait for its end.

    However this function is left, no process of the child's group is left running, even if this
    process itself is killed.

    Args:
        arguments: what can be written as JSON.
        policy: for each address.
        work: an existing folder for the log `img2dataset.log`, the arguments and `timings/SHARD.json`.
        shard_seconds: for the addresses of one shard.
        deadline_seconds: then the child is stopped.
        tick: called several times a second while the child runs; says how many shards are done. The child
            is stopped when this number has not grown for longer than a shard can take.
        module: that the child runs, with the path of the arguments.

    Raises:
        MissingInput: img2dataset is not installed.
    """
    if find_spec("img2dataset") is None:
        raise MissingInput("img2dataset, which fetches images, is not installed: pip install 'clipn[pipeline]'")
    (work / "timings").mkdir(exist_ok=True)
    child_arguments = {
        "download": dict(arguments),
        "policy": asdict(policy),
        "shard_seconds": shard_seconds,
        "timings": str((work / "timings").absolute()),
    }
    (work / "arguments.json").write_text(json.dumps(child_arguments), encoding="utf-8")
    command = [sys.executable, "-m", module, str(work / "arguments.json")]
    end = monotonic() + deadline_seconds
    with log_file(work).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end of file tells the child that this process is gone
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment(policy),
            start_new_session=True,
        )
    try:
        done, stalled = 0, monotonic() + shard_seconds + _SPARE_SECONDS
        while monotonic() < min(end, stalled):
            try:
                child.wait(_POLL_SECONDS)
                return End.BY_ITSELF
            except subprocess.TimeoutExpired:
                now_done = tick()
            if now_done != done:
                done, stalled = now_done, monotonic() + shard_seconds + _SPARE_SECONDS
        return End.DEADLINE if monotonic() >= end else End.STALLED
    finally:
        _stop(child)


def log_file(work: Path) -> Path:
    """Return where `run` lets img2dataset write what it prints."""
    return work / "img2dataset.log"


def environment(policy: FetchPolicy) -> dict[str, str]:
    """Variables that every process of img2dataset needs."""
    bypass = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    own = policy.own_server.rpartition(":")[0] or "127.0.0.1"
    return {
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "WDS_SECURE": "1",
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(images.MAX_PIXELS),
        "OPENCV_LOG_LEVEL": "ERROR",
        # The system's resolver knows no deadline of ours; its own would be 10 s for each name server.
        "RES_OPTIONS": os.environ.get("RES_OPTIONS", "timeout:3 attempts:2"),
        "no_proxy": "*" if bypass == "*" else f"{bypass},{own}",
    }


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the rest of the child's group. Unless the child ended well, it gets time to clear its semaphores."""
    assert child.stdin is not None
    processes.end_group(child, _GRACE_SECONDS if child.poll() != 0 else 0)
    child.stdin.close()


def leave_out_unused() -> None:
    """Keep img2dataset from importing what it does not use here: half of the start-up time of each process."""
    sys.modules["torch"] = None  # type: ignore[assignment]
    sys.modules["wandb"] = types.ModuleType("wandb")


def main(path: str, join: Callable[[FetchPolicy], None] = lambda policy: None) -> None:
    """What the child does: call img2dataset with the arguments in the file `path`, each worker with the policy.

    Args:
        path: of the file that `run` wrote.
        join: called before img2dataset starts.
    """
    processes.at_parents_end(lambda: os.killpg(0, signal.SIGKILL))
    arguments = json.loads(Path(path).read_text(encoding="utf-8"))
    policy = FetchPolicy(**arguments["policy"])
    join(policy)
    import img2dataset

    from clipn.data.download.downloader import BoundedDownloader

    # The package's attribute `main` is a function of the same name.
    sys.modules["img2dataset.main"].Downloader = partial(  # type: ignore[attr-defined]
        BoundedDownloader, policy, arguments["shard_seconds"], arguments["timings"]
    )
    img2dataset.download(**arguments["download"])


if __name__ in OWN_NAMES:
    leave_out_unused()
if __name__ == "__main__":
    main(sys.argv[1])
