"""Stage `study_backbone`: one of the frozen towers that the feature study compares."""

from __future__ import annotations

from typing import Any

from clipn import config, paths
from clipn.project.params import read_params
from flows.runtime.stage import stage
from flows.stages.backbone import obtain


@stage("study_backbone")
def run(name: str) -> dict[str, Any]:
    """Take a local model, fetch a pretrained one, or pretrain a small one on the downloaded images."""
    params = read_params()
    options = config.named(params.study.backbones, "study.backbones", name)
    return obtain(options, params.features.max_pixels, paths.STUDY / name / "backbone")
