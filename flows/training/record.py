"""What is kept of a training run's steps: DVCLive's files in git, and TensorBoard's beside the checkpoints."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvclive import Live

from clipn.training.step_log import Step

ROWS = 1000
"""Rows that DVCLive keeps of a metric, so that a record in git stays small."""

CHECKS = ("auroc_ctw", "auroc_atd")
METRICS = ("loss_yes", "loss_no", "loss_tso", "loss", "grad_norm", "lr", "logit_scale", "samples_per_second")


class Record:
    """DVCLive's files of a run, `metrics.json` and `plots/metrics/*.tsv`.

    Every k-th step and the last one, so that no metric has more than `ROWS` rows; and every result of
    the held-out check. The files depend on the steps alone, not on when these were seen.

    Args:
        folder: replaced.
        steps: number of steps of the whole run.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._every = max(1, math.ceil((steps - 1) / (ROWS - 1)))
        self._last = steps - 1
        self._skipped: Step | None = None
        if folder.exists():
            shutil.rmtree(folder)
        self._live = _FilesOnly(str(folder), save_dvc_exp=False, dvcyaml=None)

    def add(self, new: Sequence[Step]) -> None:
        """Write further steps."""
        for step in new:
            kept = step.step % self._every == 0 or step.step == self._last
            self._skipped = None if kept else step
            if kept or step.auroc_ctw is not None:
                self._write(step, METRICS if kept else ())
        self._live.make_summary()

    def close(self) -> None:
        """Finish; the last step that was seen is in the files even if the run ended early."""
        if self._skipped:
            self._write(self._skipped, METRICS, checks=())
        self._live.end()

    def _write(self, step: Step, metrics: Sequence[str], checks: Sequence[str] = CHECKS) -> None:
        # Named before the metrics: the order of metrics.json must not depend on when DVCLive adds it.
        self._live.step = self._live.summary["step"] = step.step
        self._live.log_metric("epoch", step.epoch, plot=False)
        for name, value in _present(step, (*metrics, *checks)):
            # Six digits: enough to compare runs, few enough for a readable difference in git.
            self._live.log_metric(name, float(f"{value:.6g}"))


class _FilesOnly(Live):
    """DVCLive's files and nothing else.

    By itself it looks for a repository, makes a DVC repository of one that has only git, names an
    experiment, and sends what it logs to a server where the environment holds a token.
    """

    def _init_dvc(self) -> None:
        pass

    def _init_studio(self) -> None:
        self._studio_events_to_skip = {"start", "data", "done"}


class Events:
    """TensorBoard's event files: every step at full precision.

    Args:
        writer: torch's `SummaryWriter`.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    @classmethod
    def open(cls, folder: Path) -> Events | None:
        """Replace `folder`; None where the package `tensorboard` is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        if folder.exists():
            shutil.rmtree(folder)
        return cls(SummaryWriter(str(folder)))

    def add(self, new: Sequence[Step]) -> None:
        """Write further steps."""
        for step in new:
            for name, value in _present(step, (*METRICS, *CHECKS)):
                self._writer.add_scalar(name, value, step.step)
        self._writer.flush()

    def close(self) -> None:
        """Finish."""
        self._writer.close()


def _present(step: Step, names: Sequence[str]) -> list[tuple[str, float]]:
    return [(name, getattr(step, name)) for name in names if getattr(step, name) is not None]
