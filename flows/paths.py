"""Where each stage's files lie, relative to the project's root. `dvc.yaml` names the same paths."""

from pathlib import Path

CAPTIONS = Path("data/captions")
DOWNLOAD = Path("data/download")
BACKBONE = Path("data/backbone")
SETS = Path("data/sets")
ARCHIVES = Path("data/archives")
TRAIN_FEATURES = Path("data/features/train")
SET_FEATURES = Path("data/features/sets")
SCORES = Path("data/scores")
WORK = Path("data/work")
"""Unfinished work that a later run goes on with; not an output of any stage, so DVC leaves it alone."""
MODELS = Path("models/clipn")
METRICS = Path("reports/metrics")
TRAINING = Path("reports/training")
STAGES = Path("reports/stages")
SUMMARY = Path("reports/metrics.json")
RESULTS = Path("reports/results.md")
REPORT = Path("reports/report.html")


def model(seed: int) -> Path:
    return MODELS / f"seed-{seed}"


def work_of_training(seed: int) -> Path:
    """Checkpoints and the log of steps."""
    return WORK / "train" / f"seed-{seed}"
