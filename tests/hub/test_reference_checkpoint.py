"""Checkpoints of the reference: read by its names, compared with the backbone, written as our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from clipn.cli import main
from clipn.errors import BackboneMismatch, ClipnError, InvalidData, InvalidParams, NonFinite
from clipn.hub.reference_checkpoint import Tower, describe, import_file
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig
from clipn.training.pretrain import preprocess_cfg
from tests.conftest import ROOT, TINY

SHARED = ROOT.parent / "shared/golden/train_a"
TEXT = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
State = dict[str, Tensor]


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Path:
    """A backbone's folder."""
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def state(tiny_clip: torch.nn.Module) -> State:
    """What the reference would save of this backbone after training with three prompts."""
    frozen = {name: tensor.detach().clone() for name, tensor in tiny_clip.state_dict().items()}
    trained = {"prompt_no": torch.randn(3, 24, 32)}
    for name, tensor in frozen.items():
        root, dot, rest = name.partition(".")
        if root in TEXT:
            trained[f"{root}_no{dot}{rest}"] = tensor + 0.01 * torch.randn_like(tensor)
    return {**frozen, **trained}


def save(state: State, path: Path, prefix: str = "module.") -> Path:
    named = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({"epoch": 10, "name": "run", "state_dict": named, "optimizer": {"state": {0: {"step": 1.0}}}}, path)
    return path


def test_becomes_a_model_of_the_project(clip: Path, state: State, tiny_clip: torch.nn.Module, tmp_path: Path) -> None:
    imported = import_file(save(state, tmp_path / "epoch_10.pt"), tmp_path / "model", clip)
    fingerprint = backbone.fingerprint(clip)
    expected = NoEncoderConfig("learnable", 3, None, learned_scale=False, backbone=fingerprint, seed=None)
    assert imported.config == no_encoder.read_config(tmp_path / "model") == expected
    encoder = no_encoder.load(tmp_path / "model", tiny_clip, fingerprint)
    assert encoder.logit_scale is None
    ours = encoder.state_dict()
    assert len(ours) == imported.tensors == sum("_no" in name for name in state)
    assert imported.parameters == sum(tensor.numel() for tensor in ours.values())
    torch.testing.assert_close(ours["prompts"], state["prompt_no"], rtol=0, atol=0)
    block = "transformer{}.resblocks.1.mlp.c_fc.weight"
    assert torch.equal(ours["encoder." + block.format("")], state[block.format("_no")])
    source = json.loads((tmp_path / "model/source.json").read_text())
    assert source["file"] == "epoch_10.pt"


def test_features_are_those_of_the_reference(tmp_path: Path) -> None:
    """The miniature of a released checkpoint, and the no features that the reference computed with it."""
    if not SHARED.is_dir():
        pytest.skip("the reference run lies outside the project")
    state = {
        **load_file(SHARED / "initial_state.safetensors"),
        **load_file(SHARED / "final_no_state.safetensors"),
    }
    config = {
        "embed_dim": 64,
        "vision_cfg": {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 600, "width": 64, "heads": 2, "layers": 2},
    }
    model = open_clip.model.CLIP(**config)
    model.load_state_dict(
        {name: tensor for name, tensor in state.items() if not name.partition(".")[0].endswith("_no")}
    )
    backbone.save(model, config, preprocess_cfg(config), tmp_path / "clip")
    imported = import_file(save(state, tmp_path / "a.pt"), tmp_path / "model", tmp_path / "clip")
    assert imported.towers == (Tower("text tower", 29, 29), Tower("image tower", 20, 20))
    encoder = no_encoder.load(tmp_path / "model", model, backbone.fingerprint(tmp_path / "clip"))
    run = load_file(SHARED / "trajectory.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(encoder(run["tokens"]), run["no_text_features_final"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(clip: Path, state: State, tmp_path: Path, dtype: torch.dtype) -> None:
    path = save({name: tensor.to(dtype) for name, tensor in state.items()}, tmp_path / "a.pt")
    imported = import_file(path, tmp_path / "model", clip)
    assert all(tower.matched == tower.total for tower in imported.towers)
    weights = load_file(tmp_path / "model" / no_encoder.WEIGHTS)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    torch.testing.assert_close(weights["prompts"], state["prompt_no"].to(dtype).float(), rtol=0, atol=0)


def test_the_handcrafted_variant_has_no_prompts(clip: Path, state: State, tmp_path: Path) -> None:
    del state["prompt_no"]
    path = save(state, tmp_path / "a.pt")
    config = import_file(path, tmp_path / "model", clip).config
    assert (config.variant, config.n_prompts, config.paired_templates) == ("handcrafted", 0, "reference")
    config = import_file(path, tmp_path / "other", clip, paired_templates="photo").config
    assert config.paired_templates == "photo"


def test_a_checkpoint_without_towers_says_what_was_not_checked(clip: Path, state: State, tmp_path: Path) -> None:
    trained = {name: tensor for name, tensor in state.items() if "_no" in name}
    imported = import_file(save(trained, tmp_path / "a.pt"), tmp_path / "model", clip)
    assert [tower.matched for tower in imported.towers] == [0, 0]
    assert "holds no image tower; whether it was trained with this one could not be checked" in "\n".join(
        describe(imported)
    )
    assert imported.logit_scale is None


def change(name: str, make: Callable[[Tensor], Tensor]) -> Callable[[State], object]:
    return lambda state: state.update({name: make(state[name])})


def without(part: str) -> Callable[[State], object]:
    return lambda state: [state.pop(name) for name in list(state) if part in name]


def _nan(tensor: Tensor) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[0] = float("nan")
    return tensor


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (without("_no"), InvalidData, "holds no tensor 'token_embedding_no.weight'"),
        (without("transformer_no.resblocks.1."), InvalidData, r"lacks 12 of the 30 .* transformer_no\.resblocks\.1\."),
        (change("ln_final_no.weight", _nan), NonFinite, r"ln_final_no\.weight holds NaN"),
        (
            change("text_projection_no", lambda t: torch.zeros(48, 24)),
            BackboneMismatch,
            r"text_projection_no is \[48, 24\], but this backbone needs \[32, 16\]",
        ),
        (
            lambda state: state.update({"transformer_no.resblocks.2.ln_1.bias": torch.zeros(32)}),
            BackboneMismatch,
            r"1 trained tensors that this backbone has no place for, such as 'transformer_no\.resblocks\.2",
        ),
        (change("prompt_no", lambda t: t[0]), InvalidData, r"prompt_no is \[24, 32\]; it has to be"),
        (change("prompt_no", lambda t: t.int()), InvalidData, "prompt_no is no plain array"),
        (change("prompt_no", lambda t: t.to_sparse()), InvalidData, "prompt_no is no plain array"),
        (
            change("prompt_no", lambda t: t[:1, :1, :1].expand(10**6, 24, 32)),
            InvalidData,
            "prompt_no is no plain array",
        ),
        (change("visual.conv1.weight", lambda t: t + 0.01), BackboneMismatch, "'visual.conv1.weight' differs .* by up"),
        (
            change("visual.positional_embedding", lambda t: torch.zeros(10, 32)),
            BackboneMismatch,
            r"'visual.positional_embedding' is \[10, 32\], but \[5, 32\] in this one",
        ),
        (
            lambda state: state.update({"visual.trunk.weight": torch.zeros(1)}),
            BackboneMismatch,
            "'visual.trunk.weight' is none of this one's tensors",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_what_does_not_fit_is_named_and_nothing_is_written(
    clip: Path, state: State, tmp_path: Path, damage: Callable[[State], object], error: type[ClipnError], message: str
) -> None:
    damage(state)
    with pytest.raises(error, match=message) as caught:
        import_file(save(state, tmp_path / "a.pt"), tmp_path / "model", clip)
    assert "a.pt" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_templates_have_to_fit_the_variant(clip: Path, state: State, tmp_path: Path) -> None:
    path = save(state, tmp_path / "a.pt")
    with pytest.raises(InvalidParams, match="is the learnable variant, which takes no paired templates"):
        import_file(path, tmp_path / "model", clip, paired_templates="photo")
    with pytest.raises(InvalidParams, match="unknown paired templates 'poems'; known: symbols"):
        import_file(path, tmp_path / "model", clip, paired_templates="poems")


def test_the_command(
    clip: Path, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(state, tmp_path / "a.pt")
    monkeypatch.chdir(tmp_path)
    command = ["import-checkpoint", "a.pt", "released", "--backbone", "clip"]
    main.main(command)
    out = capsys.readouterr().out
    assert "3 learnable prompts" in out
    assert "29 of 29 tensors of the text tower are in the file, and match" in out
    assert "left out  epoch, name, optimizer" in out
    assert "list released in evaluate.imported" in out
    assert (tmp_path / "models/imported/released/config.json").is_file()
    with pytest.raises(SystemExit, match=r"models/imported/released exists; .* --force"):
        main.main(command)
    main.main([*command, "--force"])
    with pytest.raises(SystemExit, match=r"'\.\./released' is no name for a model"):
        main.main(["import-checkpoint", "a.pt", "../released"])


def test_names_from_the_file_cannot_steer_a_terminal(clip: Path, state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": state, "\x1b[2Jred": 0, **{f"key{i}": i for i in range(20)}}, tmp_path / "a.pt")
    lines = describe(import_file(tmp_path / "a.pt", tmp_path / "model", clip))
    assert lines[-1].startswith(r"left out  \x1b[2Jred, key0, ")
    assert lines[-1].endswith("and 13 more")
