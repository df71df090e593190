"""Names of the stages: in the stage graph, and of the modules of this package that hold their flows."""

STAGES = (
    "attack",
    "backbone",
    "baselines",
    "captions",
    "download",
    "evaluate",
    "evaluate_imported",
    "features",
    "overlap",
    "report",
    "robustness",
    "set_features",
    "sets",
    "study",
    "study_backbone",
    "study_features",
    "train",
    "words",
)
