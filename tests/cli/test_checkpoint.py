"""The command `clipn import-checkpoint`; what can be wrong with a file is tested in tests/hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipn.cli import main
from clipn.models import backbone, no_encoder
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import TINY


@pytest.fixture
def checkpoint(tiny_clip: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkpoint of the hand-crafted variant, in a folder with the backbone in its usual place."""
    monkeypatch.chdir(tmp_path)
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), Path("data/backbone"))
    frozen = {name: tensor.detach().clone() for name, tensor in tiny_clip.state_dict().items()}
    trained = {}
    for name, tensor in frozen.items():
        root, dot, rest = name.partition(".")
        if root not in ("visual", "logit_scale"):
            trained[f"{root}_no{dot}{rest}"] = tensor + 0.01
    torch.save({**frozen, **trained}, "handcrafted.pt")
    return "handcrafted.pt"


def test_writes_a_model_and_says_what_is_next(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["import-checkpoint", checkpoint, "mine", "--paired-templates", "photo"])
    lines = capsys.readouterr().out.splitlines()
    assert "wrote     models/imported/mine" in lines
    assert lines[-1] == "next      list mine in evaluate.imported of params.yaml and run 'dvc repro'"
    assert no_encoder.read_config(Path("models/imported/mine")).paired_templates == "photo"
    with pytest.raises(SystemExit, match=r"models/imported/mine exists; .* --force"):
        main.main(["import-checkpoint", checkpoint, "mine"])
    main.main(["import-checkpoint", checkpoint, "mine", "--force"])
    assert no_encoder.read_config(Path("models/imported/mine")).paired_templates == "reference"


@pytest.mark.parametrize("name", ["../mine", "", "a b"])
def test_a_name_cannot_leave_the_folder(checkpoint: str, name: str) -> None:
    with pytest.raises(SystemExit, match="is no name for a model"):
        main.main(["import-checkpoint", checkpoint, name])
    assert not Path("models").exists()
