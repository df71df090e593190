"""What tests share: a two-layer CLIP that is built in milliseconds, and a project that is ready for training."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml

from clipn.features.store import FeatureBatch, FeatureMeta, write_index, write_shard
from clipn.models import backbone
from clipn.project import profiles
from tests.training_data import unit, write_pairs

# A test run in the background of a script ignores interrupts, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture
def tiny_clip() -> torch.nn.Module:
    """A small random CLIP with the standard vocabulary."""
    torch.manual_seed(0)
    return open_clip.model.CLIP(**TINY)


SETTINGS = (
    "train.batch_size=16",
    "train.epochs=2",
    "train.shuffle_rows=64",
    "train.n_prompts=3",
    "train.check.id=emoticons",
    "train.check.ood=dingbats",
    "train.check.every=5",
    "train.check.templates=symbols",
)


@pytest.fixture(scope="session")
def training_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny backbone and features that look as if it had made them, and params.yaml."""
    folder = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**TINY)
    config = open_clip.get_model_preprocess_cfg(model)
    backbone.save(model, TINY, config, folder / "data/backbone")
    made_by = backbone.fingerprint(folder / "data/backbone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipn.features.writer.ROW_GROUP", 20)
        write_pairs(folder / "data/features/train", (130, 7, 61, 2), backbone=made_by)
        patch.chdir(ROOT)
        values = profiles.compose("miniature", SETTINGS)
    rng = np.random.default_rng(0)
    for name, classes in (("emoticons", ("sun", "cloud")), ("dingbats", ())):
        meta = FeatureMeta(dim=16, backbone=made_by, preprocess="size=16", logit_scale=14.0, kind="evaluation",
                           classes=classes)  # fmt: skip
        path = folder / f"data/features/sets/{name}/00000.parquet"
        path.parent.mkdir(parents=True)
        with write_shard(path, meta) as writer:
            writer.append(FeatureBatch([str(i) for i in range(40)], unit(rng, 40, 16), label=np.zeros(40, np.int32)))
        write_index(path.parent, [path])
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return folder
