"""The trainer against the trajectory of the reference implementation, and its own guarantees."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from clipn.config import TrainParams
from clipn.errors import NonFinite
from clipn.models import no_encoder
from clipn.models.no_encoder import NoTextEncoder
from clipn.models.text_encoder import TextEncoder
from clipn.project import profiles
from clipn.project.params import parse_params
from clipn.training.distributed import Group
from clipn.training.loop import State, fit, fuse
from clipn.training.step_log import Step
from clipn.training.stream import Batch
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden"
ALONE = Group(0, 1, torch.device("cpu"))
END = 49407


@pytest.fixture(scope="module")
def code_params() -> TrainParams:
    """The preset of the released code, which the reference run followed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return parse_params(profiles.compose("miniature", ["train.batch_size=24"])).train


def reference_clip() -> torch.nn.Module:
    """The model of the reference run; its image tower plays no part and is left random."""
    meta = json.loads((GOLDEN / "meta.json").read_text())
    model = open_clip.model.CLIP(
        embed_dim=meta["embed_dim"],
        vision_cfg={"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32},
        text_cfg={key: meta[key] for key in ("context_length", "vocab_size", "width", "heads", "layers")},
    )
    state = load_file(GOLDEN / "initial_text.safetensors")
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    assert not unexpected
    return model.eval()


def random_batches(count: int, size: int, n_prompts: int = 16, dim: int = 16) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        images, texts = torch.nn.functional.normalize(torch.randn(2, size, dim, generator=generator), dim=-1)
        tokens = torch.randint(1, 49000, (size, 9), generator=generator)
        tokens[:, 6] = END
        keys = pa.chunked_array([[f"{number}-{row}" for row in range(size)]])
        prompts = torch.randint(n_prompts + 1, (size,), generator=generator) if n_prompts else None
        yield Batch(keys, images, texts, None, tokens, prompts)


def train(
    encoder: NoTextEncoder,
    batches: Iterator[Batch],
    params: TrainParams,
    steps: int = 3,
    yes: TextEncoder | None = None,
) -> list[Step]:
    state = State.start(encoder, params)
    running = fit(state, batches, steps=steps, steps_per_epoch=2, params=params, logit_scale=14.0, group=ALONE, yes=yes)
    return [step.read() for step in running]


def test_matches_the_reference_step_by_step(code_params: TrainParams) -> None:
    meta = json.loads((GOLDEN / "meta.json").read_text())
    run = load_file(GOLDEN / "trajectory.safetensors")
    tokens = run["tokens"].long()
    model = reference_clip()
    encoder = NoTextEncoder(model, meta["n_prompts"])
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), run["no_text_features_initial"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder.encoder(tokens), run["text_features"], rtol=1e-4, atol=1e-5)

    batches = (
        Batch(pa.chunked_array([[str(int(i)) for i in rows]]), run["image_features"][rows], run["text_features"][rows],
              None, tokens[rows], drawn)
        for rows, drawn in zip(run["batch_indices"], run["prompt_indices"], strict=True)
    )  # fmt: skip
    history = fit(
        State.start(encoder, code_params), batches, steps=meta["steps"], steps_per_epoch=4, params=code_params,
        logit_scale=meta["logit_scale"], group=ALONE,
    )  # fmt: skip
    ours = [
        (s.loss_yes, s.loss_no, s.loss_tso, s.loss, s.grad_norm, s.lr)
        for s in (launched.read() for launched in history)
    ]
    np.testing.assert_allclose(ours, run["history"].numpy(), rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), run["no_text_features_final"], rtol=1e-4, atol=1e-5)


def test_only_the_no_encoder_changes(tiny_clip: torch.nn.Module, code_params: TrainParams) -> None:
    before = {name: value.clone() for name, value in tiny_clip.state_dict().items()}
    encoder = NoTextEncoder(tiny_clip)
    train(encoder, random_batches(3, 24), code_params)
    assert all(torch.equal(value, before[name]) for name, value in tiny_clip.state_dict().items())
    assert encoder.prompts is not None
    assert encoder.prompts.abs().max() > 0


def test_yields_between_steps_with_a_state_that_can_be_saved(
    tiny_clip: torch.nn.Module, code_params: TrainParams
) -> None:
    state = State.start(NoTextEncoder(tiny_clip), code_params)
    running = fit(
        state, random_batches(2, 24), steps=2, steps_per_epoch=2, params=code_params, logit_scale=14.0, group=ALONE
    )
    assert next(running).read().step == 0
    assert state.step == 1
    assert {float(s["step"]) for s in state.optimizer.state.values()} == {1.0}


def test_loss_weights(tiny_clip: torch.nn.Module, code_params: TrainParams) -> None:
    params = replace(code_params, weight_yes=1.0, weight_no=2.0, weight_tso=3.0)
    step = train(NoTextEncoder(tiny_clip), random_batches(1, 24), params, steps=1)[0]
    assert step.loss == pytest.approx(step.loss_yes + 2 * step.loss_no + 3 * step.loss_tso, rel=1e-6)


def test_a_learned_scale_starts_at_the_backbone_s_and_moves(
    tiny_clip: torch.nn.Module, code_params: TrainParams
) -> None:
    encoder = NoTextEncoder(tiny_clip, learn_scale=True)
    started = float(tiny_clip.logit_scale.detach().exp())  # type: ignore[operator]
    steps = train(encoder, random_batches(3, 24), code_params)
    assert steps[0].logit_scale == pytest.approx(started)
    assert steps[2].logit_scale != steps[0].logit_scale
    encoder.log_scale.data.fill_(9.0)  # type: ignore[union-attr]
    encoder.clamp_scale()
    assert encoder.logit_scale == pytest.approx(no_encoder.MAX_LOGIT_SCALE)


def test_the_handcrafted_variant_reads_the_yes_sentence_with_the_frozen_tower(
    tiny_clip: torch.nn.Module, code_params: TrainParams
) -> None:
    """Given the yes features that the tower makes of the drawn sentences, both ways are the same step."""
    batch = next(random_batches(1, 24, n_prompts=0))
    yes_tokens = batch.tokens.flip(0)
    yes = NoTextEncoder(tiny_clip, 0).encoder.requires_grad_(False)
    drawn = replace(batch, texts=None, yes_tokens=yes_tokens)
    known = replace(batch, texts=yes(yes_tokens))
    steps = []
    for one in (drawn, known):
        state = State.start(NoTextEncoder(tiny_clip, 0), code_params)
        running = fit(state, iter([one]), steps=1, steps_per_epoch=1, params=code_params, logit_scale=14.0,
                      group=ALONE, yes=yes)  # fmt: skip
        steps += [step.read() for step in running]
    assert steps[0].loss == steps[1].loss
    assert steps[0].grad_norm == steps[1].grad_norm


def test_bfloat16_stays_near_float32(tiny_clip: torch.nn.Module, code_params: TrainParams) -> None:
    exact = train(NoTextEncoder(tiny_clip), random_batches(3, 24), code_params)
    half = train(NoTextEncoder(tiny_clip), random_batches(3, 24), replace(code_params, precision="bfloat16"))
    assert [s.loss for s in half] == pytest.approx([s.loss for s in exact], rel=2e-2)
    assert [s.loss for s in half] != [s.loss for s in exact]


def test_non_finite_loss_names_step_and_keys(tiny_clip: torch.nn.Module, code_params: TrainParams) -> None:
    batch = next(random_batches(1, 24))
    batch.images[3] = torch.nan
    with pytest.raises(NonFinite, match=r"step 0, batch keys 0-0, 0-1.*train\.lr"):
        train(NoTextEncoder(tiny_clip), iter([batch]), code_params, steps=1)


def test_a_step_that_is_read_late_has_stopped_the_run_all_the_same(
    tiny_clip: torch.nn.Module, code_params: TrainParams
) -> None:
    """On a GPU later steps are launched before the figures of a bad one arrive."""
    good, bad, later = random_batches(3, 24)
    bad.images[3] = torch.inf
    state = State.start(NoTextEncoder(tiny_clip), code_params)
    running = fit(
        state, iter([good, bad, later]), steps=3, steps_per_epoch=3, params=code_params, logit_scale=14.0, group=ALONE
    )
    first = next(running)
    weights = {name: value.clone() for name, value in state.encoder.state_dict().items()}
    second, third = next(running), next(running)
    assert first.read().step == 0
    with pytest.raises(NonFinite, match="step 1, batch keys 1-0"):
        second.read()
    for name, value in state.encoder.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert {float(s["step"]) for s in state.optimizer.state.values()} == {1.0}
    assert math.isfinite(third.read().loss)


def test_a_rate_counts_from_the_end_of_the_step_before(tiny_clip: torch.nn.Module, code_params: TrainParams) -> None:
    state = State.start(NoTextEncoder(tiny_clip), code_params)
    running = fit(
        state, random_batches(2, 24), steps=2, steps_per_epoch=2, params=code_params, logit_scale=14.0, group=ALONE
    )
    first, second = running
    first.read()
    rate = second.read().samples_per_second
    assert rate == pytest.approx(24 / (second.finished - first.finished))


@pytest.mark.parametrize("variant", ["learnable", "handcrafted"])
def test_packing_with_blocks_changes_no_step(
    tiny_clip: torch.nn.Module, code_params: TrainParams, variant: str
) -> None:
    plain, packed = NoTextEncoder(tiny_clip, 16 * (variant == "learnable")), []
    blocks = copy.deepcopy(plain)
    yes = TextEncoder(tiny_clip).requires_grad_(False)
    batches = list(random_batches(3, 24, plain.n_prompts))
    if variant == "handcrafted":
        batches = [replace(batch, texts=None, yes_tokens=batch.tokens.flip(0)) for batch in batches]  # type: ignore[union-attr]
    for batch in batches:
        tokens, yes_tokens = (
            None if ids is None else yes.pack(ids, blocks=True) for ids in (batch.tokens, batch.yes_tokens)
        )
        packed.append(replace(batch, tokens=tokens, yes_tokens=yes_tokens))
    expected = train(plain, iter(batches), code_params, yes=yes)
    steps = train(blocks, iter(packed), code_params, yes=yes)
    for one, other in zip(steps, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)


@pytest.mark.parametrize(
    ("device", "precision", "blocks"),
    [("cuda", "bfloat16", True), ("cuda", "float32", False), ("cpu", "bfloat16", False)],
)
def test_blocks_are_for_a_gpu_with_tensor_cores(
    tiny_clip: torch.nn.Module, code_params: TrainParams, device: str, precision: str, blocks: bool
) -> None:
    params = replace(code_params, precision=precision)
    assert fuse(NoTextEncoder(tiny_clip), params, torch.device(device)) is blocks
