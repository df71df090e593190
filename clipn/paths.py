"""Where each stage's files lie, relative to the project's root. `dvc.yaml` names the same paths."""

from pathlib import Path

CAPTIONS = Path("data/captions")
DOWNLOAD = Path("data/download")
BACKBONE = Path("data/backbone")
SETS = Path("data/sets")
ARCHIVES = Path("data/archives")
TRAIN_FEATURES = Path("data/features/train")
SET_FEATURES = Path("data/features/sets")
OVERLAP = Path("data/overlap")
WORDS = Path("data/words")
STUDY = Path("data/study")
ATTACK = Path("data/attack")
SCORES = Path("data/scores")
WORK = Path("data/work")
"""Unfinished work that a later run goes on with; not an output of any stage, so DVC leaves it alone."""
MODELS = Path("models/clipn")
IMPORTED = Path("models/imported")
"""Models that `clipn import-checkpoint` took over."""
METRICS = Path("reports/metrics")
OVERLAPS = Path("reports/overlap")
STUDIES = Path("reports/study")
ATTACKS = Path("reports/attack")
ROBUSTNESS = Path("reports/robustness")
TRAINING = Path("reports/training")
STAGES = Path("reports/stages")
SUMMARY = Path("reports/metrics.json")
RESULTS = Path("reports/results.md")
REPORT = Path("reports/report.html")
HEADLINE = Path("reports/headline.json")
OVERVIEW = Path("reports/overview.png")
PLOTS = Path("reports/plots")


def model(seed: int) -> Path:
    return MODELS / f"seed-{seed}"


def work_of_training(seed: int) -> Path:
    """Checkpoints and the log of steps."""
    return WORK / "train" / f"seed-{seed}"
