"""Out-of-distribution scores on cached features. Higher = more in-distribution.

A new score is one class with a name, what it needs, `fit` and `score`, in a file of its own; and its import and one
entry in `REGISTRY` here. SciPy, scikit-learn and torch are imported by the methods that compute with them, so that
importing this package costs what NumPy costs.
"""

from clipn.errors import InvalidData, InvalidParams
from clipn.scores.base import Classifies, DecidesAlone, Evidence, Score, features_of, has_features
from clipn.scores.clip_probe import ProbeLBFGS
from clipn.scores.clipn import ATD, CTW
from clipn.scores.combined import ATDNegLabel, NegATD
from clipn.scores.csp import CSP
from clipn.scores.energy import Energy
from clipn.scores.gl_mcm import GLMCM
from clipn.scores.knn import KNN, OneNN
from clipn.scores.mahalanobis import Mahalanobis, RelativeMahalanobis
from clipn.scores.max_logit import MaxLogit
from clipn.scores.mcm import MCM
from clipn.scores.msp import MSP
from clipn.scores.neg_label import NegLabel
from clipn.scores.odin import ODIN
from clipn.scores.plp import PLP
from clipn.scores.probe import ProbeEnergy, ProbeMSP
from clipn.scores.react import ReAct
from clipn.scores.vim import ViM

REGISTRY: dict[str, type[Score]] = {
    score.name: score
    for score in (
        *(MSP, MCM, MaxLogit, Energy, NegLabel, CSP, GLMCM),
        *(CTW, ATD),
        *(OneNN, KNN, PLP),
        *(ProbeMSP, ProbeEnergy, ProbeLBFGS, Mahalanobis, RelativeMahalanobis, ReAct, ViM, ODIN),
        *(NegATD, ATDNegLabel),
    )
}
"""Name in `evaluate.methods` → class, in the order of the tables."""

COMBINED = frozenset({NegATD.name, ATDNegLabel.name})
"""Names of the combinations, between which the validation benchmark chooses."""


NEEDS = {
    "yes": "class names and a text tower",
    "no": 'a trained "No" text encoder',
    "words": "a word list (words.path)",
    "images": "ID images that are in no test set (fit of the benchmark)",
    "labels": "a class for each of these ID images",
}
"""Fields of `Evidence` that a score may need, in words."""

FEATURES = {
    "image": "image features",
    "pooled": "features before the projection, which this tower does not have",
    "patches": "patch features (features.patches: true, and a tower that has them)",
}
"""Kinds of features that a score may take, in words."""


def named(name: str) -> type[Score]:
    """Return the class of the score `name`.

    Raises:
        InvalidParams: there is no such score.
    """
    if name not in REGISTRY:
        raise InvalidParams(f"unknown method {name!r}; known: {', '.join(REGISTRY)}")
    return REGISTRY[name]


def fit(name: str, evidence: Evidence) -> Score:
    """Return the score `name`, fitted.

    Raises:
        InvalidParams: there is no such score, or `evidence` lacks what it needs.
        InvalidData: the score learns the classes of the ID images, and one has a label beyond the class names.
    """
    score = named(name)
    if lacking := missing(name, evidence):
        raise InvalidParams(f"{name} needs {lacking}")
    if "labels" in score.needs and evidence.labels is not None and evidence.yes is not None:
        highest, classes = int(evidence.labels.max()), len(evidence.yes)
        if highest >= classes:
            raise InvalidData(
                f"the ID images have the label {highest}, but there are {classes} classes; "
                "a label is a place in the list of classes, counted from 0"
            )
    return score().fit(evidence)


def missing(name: str, evidence: Evidence) -> str | None:
    """Return in words what a score needs and `evidence` lacks; None if it can be fitted."""
    lacking = [words for need, words in NEEDS.items() if need in REGISTRY[name].needs and not evidence.has(need)]
    if lacking:
        return " and ".join(lacking)
    takes = REGISTRY[name].takes
    if "images" in REGISTRY[name].needs and evidence.images is not None and not has_features(evidence.images, takes):
        return FEATURES[takes]
    return None


def is_trained(name: str) -> bool:
    """Return whether the score depends on a trained "No" text encoder, and so on the seed."""
    return "no" in REGISTRY[name].needs


__all__ = [
    "ATD",
    "CTW",
    "MCM",
    "MSP",
    "REGISTRY",
    "Classifies",
    "DecidesAlone",
    "Energy",
    "Evidence",
    "MaxLogit",
    "Score",
    "features_of",
    "fit",
    "has_features",
    "is_trained",
    "missing",
    "named",
]
