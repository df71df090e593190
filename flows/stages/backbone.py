"""Stage `backbone`: the frozen CLIP as a local open_clip folder, wherever it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipn import paths
from clipn.config import BackboneParams
from clipn.models import backbone
from clipn.project.params import read_params
from clipn.training import pretrain
from flows.runtime.progress import StageProgress
from flows.runtime.stage import stage


@stage("backbone")
def run() -> dict[str, Any]:
    """Take a local model, fetch a pretrained one, or pretrain a small one on the downloaded images."""
    params = read_params()
    return obtain(params.backbone, params.features.max_pixels, paths.BACKBONE)


def obtain(options: BackboneParams, max_pixels: int, out: Path) -> dict[str, Any]:
    """Write the backbone that `options` ask for; gives the stage's report."""
    report: dict[str, Any] = {}
    if options.source == "local":
        backbone.from_folder(options.path, out)
    elif options.source == "open_clip":
        assert options.name is not None  # config checks this, here and below
        assert options.pretrained is not None
        backbone.from_open_clip(options.name, options.pretrained, options.revision, out)
    elif options.source == "timm":
        assert options.name is not None
        backbone.from_timm(options.name, options.pretrained, options.image_size, out)
    else:
        assert options.pretrain is not None
        architecture = options.pretrain.model
        images, tokens = pretrain.load(paths.DOWNLOAD, architecture, max_pixels)
        model, losses = pretrain.pretrain(images, tokens, options.pretrain, StageProgress("steps"))
        backbone.save(model, architecture, pretrain.preprocess_cfg(architecture), out)
        report = {"loss": {"first": losses[0], "last": losses[-1]}, "counts": {"images": len(images)}}
    return {**report, "fingerprint": backbone.fingerprint(out)}
