"""Out-of-distribution scores on cached features. Higher = more in-distribution.

A new score is one class with a name, what it needs, `fit` and `score`, and one entry in `REGISTRY`.
"""

from clipn.errors import InvalidParams
from clipn.scores.base import DecidesAlone, Evidence, Score
from clipn.scores.clipn import ATD, CTW
from clipn.scores.zero_shot import MCM, MSP, Energy, MaxLogit

REGISTRY: dict[str, type[Score]] = {score.name: score for score in (MSP, MCM, MaxLogit, Energy, CTW, ATD)}
"""Name in `evaluate.methods` → class, in the order of the tables."""


def fit(name: str, evidence: Evidence) -> Score:
    """The score `name`, fitted.

    Raises:
        InvalidParams: no such score, or `evidence` lacks what it needs.
    """
    if name not in REGISTRY:
        raise InvalidParams(f"unknown method {name!r}; known: {', '.join(REGISTRY)}")
    missing = [need for need in sorted(REGISTRY[name].needs) if not evidence.has(need)]
    if missing:
        raise InvalidParams(f"{name} needs {', '.join(missing)} features, which are not there")
    return REGISTRY[name]().fit(evidence)


def is_trained(name: str) -> bool:
    """Whether the score depends on the trained no encoder, and so on the seed."""
    return "no" in REGISTRY[name].needs


__all__ = [
    "ATD",
    "CTW",
    "MCM",
    "MSP",
    "REGISTRY",
    "DecidesAlone",
    "Energy",
    "Evidence",
    "MaxLogit",
    "Score",
    "fit",
    "is_trained",
]
