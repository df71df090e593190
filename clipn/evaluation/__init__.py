"""Evaluate scores on benchmarks: measures, overlap, attacks, robustness, the gate."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipn.evaluation.benchmark import Evaluation
    from clipn.evaluation.evidence import Sets
    from clipn.evaluation.stores import evaluate

# Loaded on first use, since torch takes seconds to import and the report needs none of it.
_HOMES = {
    "Evaluation": "clipn.evaluation.benchmark",
    "Sets": "clipn.evaluation.evidence",
    "evaluate": "clipn.evaluation.stores",
}

__all__ = ["Evaluation", "Sets", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipn.evaluation' has no attribute {name!r}")
