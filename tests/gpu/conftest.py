"""A GPU against the CPU: the same small random CLIP, features, training and scores on both.

Without a GPU everything here is skipped. `CLIPN_GPU_TESTS=cpu` puts the CPU in the place of the GPU, which tests
the tests. Nothing here needs more than the library and pytest. How the tests call the library stands in this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from clipn.config.training import CheckParams, TrainParams
from clipn.features.crops import Crops, colours, normaliser
from clipn.features.encode import encode_images
from clipn.features.store import FeatureStore
from clipn.models import backbone, image_tower
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoTextEncoder
from clipn.training import checkpoint
from clipn.training.distributed import Group
from clipn.training.loop import State, fit, fuse
from clipn.training.pretrain import preprocess_cfg
from clipn.training.step_log import Step
from clipn.training.stream import Draws, PairStream
from tests.training_data import END, START, write_pairs

# cuBLAS reads it once, when the first matrix product runs; without it no product counts as deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 3, "width": 64, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
}
N_PROMPTS = 4
STEPS = 10
PARAMS = TrainParams(
    seeds=(0,),
    epochs=1,
    batch_size=64,
    lr=1e-4,
    beta1=0.9,
    beta2=0.98,
    eps=1e-6,
    weight_decay=0.2,
    variant="learnable",
    n_prompts=N_PROMPTS,
    draw_mean=True,
    paired_templates="photo",
    weight_yes=0.5,
    weight_no=0.5,
    weight_tso=0.5,
    temperature="fixed",
    precision="float32",
    shuffle_rows=1000,
    check=CheckParams(id="none", ood="none", every=0, images=1, templates="simple"),
)
RUN = {"name": "a comparison of devices"}


ON_CPU = os.environ.get("CLIPN_GPU_TESTS") == "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no GPU: by a mark, which is one line a file."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not ON_CPU and not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip("torch finds no CUDA device; CLIPN_GPU_TESTS=cpu runs it on the CPU"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is compared with the CPU."""
    return CPU if ON_CPU else torch.device("cuda")


@pytest.fixture(autouse=True)
def exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute float32 convolutions in float32; torch's default is TF32, with 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Take deterministic kernels where torch has them, and warn where it has none."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    backbone.save(open_clip.model.CLIP(**SMALL), SMALL, preprocess_cfg(SMALL), folder / "clip")
    return folder / "clip"


@pytest.fixture(scope="session")
def clips(clip_folder: Path, device: torch.device) -> tuple[Backbone, Backbone]:
    """The same CLIP on the CPU and on the device."""
    return backbone.load(clip_folder), backbone.load(clip_folder, device)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> FeatureStore:
    """Training pairs for ten steps and a few more."""
    made_by = backbone.fingerprint(clip_folder)
    folder = tmp_path_factory.mktemp("pairs")
    return FeatureStore.open(write_pairs(folder, (500, 300), dim=SMALL["embed_dim"], backbone=made_by))


def crops(count: int) -> Crops:
    """Return images as they travel to a device [N, H, W, 3]."""
    side = SMALL["vision_cfg"]["image_size"]
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def captions(count: int) -> Tensor:
    """Return token ids [N, 77] of captions of 3 to 77 tokens."""
    rng = np.random.default_rng(0)
    tokens = torch.zeros(count, SMALL["text_cfg"]["context_length"], dtype=torch.int64)
    for row, length in zip(tokens, rng.integers(1, 76, size=count), strict=True):
        row[: length + 2] = torch.tensor([START, *rng.integers(1, 49000, size=length), END])
    return tokens


def image_features(clip: Backbone, images: Crops) -> Tensor:
    """Return unit-norm image features on the CPU, in float32 arithmetic on every device."""
    with torch.inference_mode():
        inputs = normaliser(clip)(colours(torch.from_numpy(images).to(clip.device)))
        return torch.nn.functional.normalize(image_tower.encode(clip.model, inputs).projected).cpu()


def stored_image_features(clip: Backbone, images: Crops) -> Tensor:
    """Return image features as the pipeline makes them, which is in bfloat16 on a GPU."""
    return torch.from_numpy(encode_images(clip, images).image)


def text_features(clip: Backbone, tokens: Tensor, half: bool = False) -> Tensor:
    """Return "yes" text features on the CPU; in bfloat16 with the attention that training takes there."""
    packed = clip.text.pack(tokens, blocks=half)
    with torch.inference_mode(), torch.autocast(clip.device.type, torch.bfloat16, enabled=half):
        return clip.text(packed).float().cpu()


def encoder_for(clip: Backbone, device: torch.device) -> NoTextEncoder:
    """Return a "No" text encoder with prompts that are not zero."""
    encoder = NoTextEncoder(clip.model, N_PROMPTS)
    torch.manual_seed(1)
    assert encoder.prompts is not None
    with torch.no_grad():
        encoder.prompts.copy_(0.1 * torch.randn(encoder.prompts.shape))
    return encoder.to(device)


def gradients(clip: Backbone, tokens: Tensor, half: bool = False) -> dict[str, Tensor]:
    """Return the gradients of some function of the "No" text features, by parameter, on the CPU."""
    encoder = encoder_for(clip, clip.device)
    prompts = torch.arange(len(tokens)) % (N_PROMPTS + 1)
    packed = encoder.encoder.pack(tokens, blocks=half)
    with torch.autocast(clip.device.type, torch.bfloat16, enabled=half):
        features = encoder(packed, prompts).float()
    towards = torch.randn(features.shape, generator=torch.Generator().manual_seed(2)).to(clip.device)
    (features * towards).sum().backward()
    return {name: value.grad.cpu() for name, value in encoder.named_parameters() if value.grad is not None}


@dataclass(frozen=True)
class Trained:
    """Steps of a training run, and its state after them."""

    state: State
    steps: list[Step]

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.state.encoder.state_dict().items()}


def train(
    clip: Backbone,
    store: FeatureStore,
    *,
    until: int = STEPS,
    resume: Path | None = None,
    precision: str = "float32",
) -> Trained:
    """Train on the device of `clip`.

    Args:
        clip: the backbone.
        store: training pairs.
        until: stop after this step of the ten, as an interrupted run does.
        resume: start from the newest checkpoint here.
        precision: as `train.precision`.
    """
    params = replace(PARAMS, precision=precision)
    torch.manual_seed(0)
    encoder = encoder_for(clip, clip.device)
    state = State.start(encoder, params)
    if resume is not None:
        newest = checkpoint.latest(resume, RUN, pytest.fail)
        assert newest is not None
        newest.restore(state.encoder, state.optimizer)
        state.step = newest.step
    stream = PairStream(
        store,
        batch_size=params.batch_size,
        seed=0,
        draws=Draws(n_prompts=params.n_prompts, mean=params.draw_mean),
        shuffle_rows=params.shuffle_rows,
        pack=partial(clip.text.pack, blocks=fuse(encoder, params, clip.device)),
    )
    batches = stream.batches(state.step, pin=clip.device.type == "cuda")
    launched = []
    running = fit(
        state,
        batches,
        steps=STEPS,
        steps_per_epoch=stream.steps_per_epoch,
        params=params,
        logit_scale=clip.logit_scale,
        group=Group(0, 1, clip.device),
    )
    for step in running:
        launched.append(step)  # read later, so that steps follow one another as in a real run
        if state.step >= until:
            break
    batches.close()
    return Trained(state, [step.read() for step in launched])


def save_checkpoint(trained: Trained, folder: Path) -> None:
    """Write a checkpoint that `train` resumes from."""
    checkpoint.save(folder, trained.state.step, trained.state.encoder, trained.state.optimizer, RUN)


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Return the length of the difference as a share of that of what is expected."""
    return float((value - expected).norm() / expected.norm())
