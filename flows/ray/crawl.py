"""The child process in which img2dataset runs, for a Ray cluster: `python -m flows.ray.crawl ARGUMENTS.json`.

It is the cluster's driver, so whatever it started on any node ends with it.
"""

from __future__ import annotations

import sys

from clipn.data.download import crawl
from clipn.data.download.policy import FetchPolicy
from flows.ray import cluster


def _join(policy: FetchPolicy) -> None:
    where = cluster.address()
    assert where is not None
    # What the processes print goes where img2dataset's own lines go: to the log of the download.
    cluster.join(where, crawl.environment(policy), "clipn.data.download.crawl.leave_out_unused", show_output=True)


if __name__ in crawl.OWN_NAMES:
    crawl.leave_out_unused()
if __name__ == "__main__":
    crawl.main(sys.argv[1], _join)
