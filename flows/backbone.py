"""Stage `backbone`: the frozen CLIP as a local open_clip folder, wherever it comes from."""

from __future__ import annotations

from typing import Any

from clipn import backbone, config, pretrain, pretraining_data
from flows import paths
from flows.stage import StageProgress, main, stage


@stage("backbone")
def run() -> dict[str, Any]:
    """Take a local model, fetch a pretrained one, or pretrain a small one on the downloaded images."""
    params = config.load()
    options = params.backbone
    report: dict[str, Any] = {}
    if options.source == "local":
        backbone.from_folder(options.path, paths.BACKBONE)
    elif options.source == "open_clip":
        assert options.name is not None  # config checks this
        assert options.pretrained is not None
        backbone.from_open_clip(options.name, options.pretrained, options.revision, paths.BACKBONE)
    else:
        assert options.pretrain is not None
        architecture = options.pretrain.model
        images, tokens = pretraining_data.load(paths.DOWNLOAD, architecture, params.features.max_pixels)
        model, losses = pretrain.pretrain(images, tokens, options.pretrain, StageProgress("steps"))
        backbone.save(model, architecture, pretrain.preprocess_cfg(architecture), paths.BACKBONE)
        report = {"loss": {"first": losses[0], "last": losses[-1]}, "counts": {"images": len(images)}}
    return {**report, "fingerprint": backbone.fingerprint(paths.BACKBONE)}


if __name__ == "__main__":
    main(run)
