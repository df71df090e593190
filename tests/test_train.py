"""The trainer against the trajectory of the reference implementation, and its own guarantees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from clipn.config import TrainParams
from clipn.errors import InvalidParams, NonFinite
from clipn.no_encoder import NoTextEncoder
from clipn.store import FeatureBatch
from clipn.train import Batch, draw_batches, fit, steps_per_epoch

GOLDEN = Path(__file__).parent / "data/golden"
PARAMS = TrainParams(
    seeds=(0,),
    epochs=1,
    batch_size=24,
    lr=3e-4,
    beta1=0.9,
    beta2=0.98,
    eps=1e-6,
    weight_decay=0.2,
    n_prompts=16,
    draw_mean=True,
)


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


def random_pairs(count: int, dim: int = 16) -> FeatureBatch:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, count, dim)).astype(np.float32)
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    tokens = [np.array([49406, *rng.integers(1, 49000, size=n), 49407], np.int32) for n in rng.integers(1, 12, count)]
    keys = [f"{i:04d}" for i in range(count)]
    return FeatureBatch(keys, features[0].astype(np.float16), text=features[1].astype(np.float16), tokens=tokens)


def test_matches_the_reference_step_by_step() -> None:
    meta = json.loads((GOLDEN / "meta.json").read_text())
    run = load_file(GOLDEN / "trajectory.safetensors")
    tokens = run["tokens"].long()
    model = reference_clip()
    encoder = NoTextEncoder(model, meta["n_prompts"])
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), run["no_text_features_initial"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder.encoder(tokens), run["text_features"], rtol=1e-4, atol=1e-5)

    batches = (
        Batch([str(int(i)) for i in rows], run["image_features"][rows], run["text_features"][rows], tokens[rows], drawn)
        for rows, drawn in zip(run["batch_indices"], run["prompt_indices"], strict=True)
    )
    history = fit(
        encoder, batches, steps=meta["steps"], steps_per_epoch=4, params=PARAMS, logit_scale=meta["logit_scale"]
    )
    ours = [(s.loss_yes, s.loss_no, s.loss_tso, s.loss, s.grad_norm, s.lr) for s in history]
    np.testing.assert_allclose(ours, run["history"].numpy(), rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), run["no_text_features_final"], rtol=1e-4, atol=1e-5)


def test_only_the_no_encoder_changes(tiny_clip: torch.nn.Module) -> None:
    before = {name: value.clone() for name, value in tiny_clip.state_dict().items()}
    encoder = NoTextEncoder(tiny_clip)
    params = replace(PARAMS, batch_size=8)
    fit(encoder, draw_batches(random_pairs(16), params, 0), steps=3, steps_per_epoch=2, params=params, logit_scale=14.0)
    assert all(torch.equal(value, before[name]) for name, value in tiny_clip.state_dict().items())
    assert encoder.prompts.abs().max() > 0


def test_same_seed_same_weights_other_seed_other_weights(tiny_clip: torch.nn.Module) -> None:
    params = replace(PARAMS, batch_size=8)

    def prompts(seed: int) -> torch.Tensor:
        encoder = NoTextEncoder(tiny_clip)
        batches = draw_batches(random_pairs(16), params, seed)
        fit(encoder, batches, steps=3, steps_per_epoch=2, params=params, logit_scale=14.0)
        return encoder.prompts.detach()

    assert torch.equal(prompts(1), prompts(1))
    assert not torch.equal(prompts(1), prompts(2))


def test_an_epoch_shows_every_pair_once_and_draws_all_prompts() -> None:
    params = replace(PARAMS, batch_size=50, n_prompts=3)
    batches = draw_batches(random_pairs(200), params, seed=0)
    epoch = [next(batches) for _ in range(4)]
    assert sorted(key for batch in epoch for key in batch.keys) == [f"{i:04d}" for i in range(200)]
    assert {int(p) for batch in epoch for p in batch.prompts} == {0, 1, 2, 3}
    second = [next(batches) for _ in range(4)]
    assert [b.keys for b in second] != [b.keys for b in epoch]


def test_the_mean_is_not_drawn_when_switched_off() -> None:
    params = replace(PARAMS, batch_size=200, n_prompts=3, draw_mean=False)
    assert int(next(draw_batches(random_pairs(200), params, seed=0)).prompts.max()) == 2


def test_non_finite_loss_names_step_and_keys(tiny_clip: torch.nn.Module) -> None:
    pairs = random_pairs(16)
    pairs.image[3] = np.nan
    params = replace(PARAMS, batch_size=16)
    with pytest.raises(NonFinite, match=r"step 0, batch keys \d{4}.*train\.lr"):
        fit(NoTextEncoder(tiny_clip), draw_batches(pairs, params, 0), steps=1, steps_per_epoch=1, params=params,
            logit_scale=14.0)  # fmt: skip


def test_half_precision_features_do_not_break_the_square_root(tiny_clip: torch.nn.Module) -> None:
    """At the first step the no features equal the yes features, and rounding can put their cosine above 1."""
    pairs = random_pairs(16)
    encoder = NoTextEncoder(tiny_clip.eval())
    assert pairs.tokens is not None
    with torch.no_grad():
        features = [encoder(torch.from_numpy(row.astype(np.int64))[None])[0].numpy() for row in pairs.tokens]
    stretched = np.stack(features).astype(np.float16) * np.float16(1.0005)
    pairs = replace(pairs, text=stretched.astype(np.float16))
    params = replace(PARAMS, batch_size=16)
    history = fit(encoder, draw_batches(pairs, params, 0), steps=1, steps_per_epoch=1, params=params, logit_scale=14.0)
    assert history[0].loss_tso == pytest.approx(2 - 1e-2, abs=2e-3)


def test_too_few_pairs_for_a_batch() -> None:
    with pytest.raises(InvalidParams, match=r"train\.batch_size is 512.*only 10 training pairs"):
        steps_per_epoch(10, 512)
