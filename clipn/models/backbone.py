"""The frozen CLIP. Wherever it comes from, it ends as a local open_clip folder and is loaded from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import yaml
from open_clip.pretrained import download_pretrained_from_hf
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from clipn.errors import DownloadFailed, InvalidData, InvalidParams, MissingInput
from clipn.models.text_encoder import TextEncoder
from clipn.utils import devices
from clipn.utils.files import atomic_folder, read_json, write_json

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
TEXT_TOWER = "text_tower"
"""Key of the configuration that is false for a bare image tower."""
NO_TEXT = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
"""An open_clip folder cannot do without a text tower, so a bare image tower gets the least that one can be."""


@dataclass(frozen=True)
class Backbone:
    """A CLIP ready for use, frozen and in evaluation mode.

    Attributes:
        model: the open_clip model.
        text: its text encoder, which skips positions after the end token.
        preprocess: PIL image → tensor [3, H, W].
        tokenize: texts → token ids [N, context length].
        has_text: False for a bare image tower, whose text encoder is an untrained stand-in.
        fingerprint: identifies weights, architecture and preprocessing.
        device: where the model is.
    """

    model: nn.Module
    text: TextEncoder
    preprocess: Callable[[Image.Image], Tensor]
    tokenize: Callable[[Sequence[str]], Tensor]
    fingerprint: str
    device: torch.device
    has_text: bool = True

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.exp())  # type: ignore[operator]


def load(folder: str | Path, device: str | torch.device = "cpu") -> Backbone:
    """Load a local open_clip folder.

    Raises:
        MissingInput: the folder or one of its two files is not there.
        InvalidData: a file is damaged or they do not belong together.
        UnsupportedModel: the text tower is not of the kind that CLIPN needs.
        InvalidParams: there is no such device here.
    """
    folder = Path(folder)
    check_folder(folder)
    devices.check(device, f"the device {device}")
    name = f"local-dir:{folder}"
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, device=device, weights_only=True)
        tokenize = open_clip.get_tokenizer(name)
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise InvalidData(f"{folder} does not load as an open_clip model: {error}") from error
    # Convolutions run up to twice as fast in this layout; `features` gives images in it too.
    model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    has_text = read_json(folder / CONFIG).get(TEXT_TOWER, True)
    return Backbone(
        model, TextEncoder(model), preprocess, tokenize, fingerprint(folder), torch.device(device), has_text
    )


def check_folder(folder: str | Path) -> None:
    """Check that a folder holds an open_clip model, without loading it.

    Raises:
        MissingInput, InvalidData: as `load`.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise MissingInput(f"{folder / name} does not exist; an open_clip folder holds {CONFIG} and {WEIGHTS}")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise InvalidData(f"{folder / CONFIG} has no 'model_cfg'; it is not an open_clip configuration")


def fingerprint(folder: str | Path) -> str:
    """Return sixteen hex digits that change with weights, architecture or preprocessing."""
    folder = Path(folder)
    digest = hashlib.sha256(json.dumps(read_json(folder / CONFIG), sort_keys=True).encode())
    with (folder / WEIGHTS).open("rb") as handle:
        digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def from_folder(source: str | Path, out: str | Path) -> None:
    """Check a local open_clip folder and copy its two files and tokenizer files to `out`."""
    check_folder(source)
    with atomic_folder(out) as temporary:
        for path in sorted(Path(source).iterdir()):
            if path.is_file() and (path.name in (CONFIG, WEIGHTS) or path.suffix in (".json", ".txt")):
                shutil.copyfile(path, temporary / path.name)
        load(temporary)


def from_open_clip(name: str, pretrained: str, revision: str | None, out: str | Path) -> None:
    """Fetch a pretrained open_clip model and store it as a local folder.

    Args:
        name: architecture, such as `ViT-B-16`.
        pretrained: tag of its weights, such as `laion2b_s34b_b88k`.
        revision: commit or branch of the hub repository; None takes that of `weights.yaml`, or the newest.
        out: the folder to write.

    Raises:
        InvalidParams: open_clip knows no such architecture or tag.
        DownloadFailed: the weights could not be fetched.
    """
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        raise InvalidParams(
            f"open_clip has no weights {pretrained!r} for {name!r}; "
            + (f"it has {', '.join(tags)}" if tags else "see open_clip.list_pretrained() for what it has")
        )
    revision = revision or _pinned().get(name, {}).get(pretrained)
    source = open_clip.get_pretrained_cfg(name, pretrained)
    address = source.get("hf_hub") or source.get("url")
    try:
        weights = _fetch_weights(source, revision)
    except (OSError, RuntimeError) as error:
        raise DownloadFailed(
            f"could not fetch {name} / {pretrained} from {address} (revision {revision or 'newest'}): {error}. "
            "Check the network, or put an open_clip folder on this machine and name it with "
            "backbone.source: local and backbone.path"
        ) from error
    # Weights from a file come without what open_clip knows about the tag.
    quick_gelu = bool(source.get("quick_gelu", False))
    preprocess = {k: source[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in source}
    model = open_clip.create_model(
        name, pretrained=weights, force_quick_gelu=quick_gelu, force_preprocess_cfg=preprocess, weights_only=True
    )
    config = open_clip.get_model_config(name)
    if quick_gelu:
        config["quick_gelu"] = True
    save(model, config, open_clip.get_model_preprocess_cfg(model), out)


def from_timm(name: str, pretrained: str | None, image_size: int | None, out: str | Path) -> None:
    """Store an image tower of timm as a local open_clip folder.

    It has no trained text tower, so only scores that need no class names can use it.

    Args:
        name: architecture, such as `vit_base_patch16_224`.
        pretrained: tag of its weights, such as `dino`; None leaves random weights, equal each time.
        image_size: side of its input in pixels; None takes the one that timm says.
        out: the folder to write.

    Raises:
        InvalidParams: timm knows no such architecture or tag, or it takes no such image size.
        DownloadFailed: the weights could not be fetched.
    """
    full = f"{name}.{pretrained}" if pretrained else name
    if not timm.is_model(name) or (pretrained and full not in timm.list_pretrained(f"{name}.*")):
        tags = ", ".join(model.partition(".")[2] for model in timm.list_pretrained(f"{name}.*"))
        raise InvalidParams(f"timm has no model {full!r}" + (f"; tags of {name!r}: {tags}" if tags else ""))
    torch.manual_seed(0)
    try:
        trunk = timm.create_model(full, pretrained=pretrained is not None, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise DownloadFailed(
            f"could not fetch the weights of {full} from the hub: {error}; check the network"
        ) from error
    data = timm.data.resolve_model_data_config(trunk)
    side = image_size or data["input_size"][-1]
    pool = getattr(trunk, "global_pool", "avg")
    vision = {
        "timm_model_name": name,
        "timm_pool": pool if isinstance(pool, str) else getattr(pool, "pool_type", "avg"),
        "timm_proj": "none",
        "image_size": side,
    }
    with torch.inference_mode():
        try:
            width = trunk.eval()(torch.zeros(1, 3, side, side)).shape[1]
        except (RuntimeError, AssertionError) as error:
            raise InvalidParams(f"{full} takes no images of {side} pixels: {error}") from error
    config = {"embed_dim": width, "vision_cfg": vision, "text_cfg": NO_TEXT}
    model = open_clip.model.CLIP(**config)
    model.visual.trunk.load_state_dict(trunk.state_dict())
    preprocess = {"size": side, "mode": "RGB", "resize_mode": "shortest", "interpolation": data["interpolation"]}
    save(model, config, {**preprocess, "mean": data["mean"], "std": data["std"]}, out, {TEXT_TOWER: False})


def _pinned() -> dict[str, dict[str, str]]:
    """Architecture → tag → commit of the hub repository."""
    text = resources.files(__package__).joinpath("weights.yaml").read_text(encoding="utf-8")
    pinned: dict[str, dict[str, str]] = yaml.safe_load(text)
    return pinned


def _fetch_weights(source: dict[str, Any], revision: str | None) -> str:
    if not source.get("hf_hub"):
        return open_clip.download_pretrained(source)
    # A hub entry is "owner/repository/" or "owner/repository/file".
    repository, _, file = source["hf_hub"].rpartition("/")
    return download_pretrained_from_hf(repository, filename=file or None, revision=revision)


def save(
    model: nn.Module,
    model_cfg: dict[str, Any],
    preprocess_cfg: dict[str, Any],
    out: str | Path,
    marks: dict[str, Any] | None = None,
) -> None:
    """Write a model as a local open_clip folder, whole or not at all; `marks` are further keys of its configuration."""
    with atomic_folder(out) as temporary:
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, temporary / WEIGHTS)
        write_json(temporary / CONFIG, {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg, **(marks or {})})
