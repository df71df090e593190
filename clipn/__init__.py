"""CLIPN: teach CLIP to say no. Zero-shot out-of-distribution detection (arXiv 2308.12213)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipn.detector import Detection, Detector
    from clipn.features.store import FeatureStore
    from clipn.models.no_encoder import NoTextEncoder

    __version__: str

# Loaded on first use: torch takes seconds to import, and many commands and stages do not need it.
_HOMES = {
    "Detection": "clipn.detector",
    "Detector": "clipn.detector",
    "FeatureStore": "clipn.features.store",
    "NoTextEncoder": "clipn.models.no_encoder",
}

__all__ = ["Detection", "Detector", "FeatureStore", "NoTextEncoder", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version  # slow to import, and rarely needed

        return version("clipn")
    raise AttributeError(f"module 'clipn' has no attribute {name!r}")
