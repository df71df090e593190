"""Checkpoints of the reference implementation of CLIPN, turned into this project's own format.

The reference keeps the trained tensors beside the frozen CLIP in one state dict and marks them with
`_no`: `token_embedding_no.weight`, `transformer_no.resblocks.…`, `prompt_no` [P, context length,
width], which its hand-crafted variant lacks. A training framework may have put a prefix such as
`module.` before all names, and optimizer states, epoch and the like around the state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from clipn.errors import BackboneMismatch, InvalidData, InvalidParams, NonFinite
from clipn.hub.foreign_tensors import StateDict, find_state_dict, read
from clipn.models import backbone, no_encoder
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.models.text_encoder import TextEncoder
from clipn.prompts import templates
from clipn.utils.files import atomic_folder, sha256, write_json

MARK = "token_embedding_no.weight"
"""Every reference checkpoint has it, and what stands before it is the prefix of all names."""
PROMPTS = "prompt_no"
SCALE = "logit_scale"
IMAGE = "visual"
SOURCE = "source.json"
SHOWN = 8
"""Names that are listed of what was left out."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Tower:
    """A frozen tower of the backbone: `matched` of its `total` tensors are in the checkpoint, and equal."""

    name: str
    matched: int
    total: int


@dataclass(frozen=True)
class Imported:
    """What an import has read and written.

    Attributes:
        config: of the model that was written.
        tensors: number of trained tensors.
        parameters: number of trained values.
        state_dict: of the file, with its place in it.
        left_out: names of tensors that were neither taken nor compared.
        towers: the comparison with the backbone.
        logit_scale: the file's factor on cosine similarities and the backbone's, if the file has one.
    """

    config: NoEncoderConfig
    tensors: int
    parameters: int
    state_dict: StateDict
    left_out: tuple[str, ...]
    towers: tuple[Tower, ...]
    logit_scale: tuple[float, float] | None


def import_file(
    path: str | Path,
    out: str | Path,
    backbone_folder: str | Path,
    paired_templates: str | None = None,
    force: bool = False,
) -> Imported:
    """Write the "No" text encoder of a reference checkpoint as a folder that `no_encoder.load` reads.

    Args:
        path: the checkpoint, a PyTorch file or safetensors.
        out: the folder to write, whole or not at all; also gets `source.json`, which names the file.
        backbone_folder: the open_clip folder of the CLIP that it was trained with.
        paired_templates: for the hand-crafted variant, name of a paired set of `clipn.prompts.templates`; None:
            `reference`, which the reference trains with.
        force: replace `out` if it exists.

    Raises:
        MissingInput, InvalidData: file or backbone are not there, of another kind, incomplete or damaged.
        BackboneMismatch: it was trained with another backbone.
        NonFinite: a trained tensor holds NaN or an infinity.
        InvalidParams: `out` exists, or `paired_templates` does not fit.
    """
    path, out = Path(path), Path(out)
    if out.exists() and not force:
        raise InvalidParams(f"{out} exists; choose another name, or replace it with --force")
    if paired_templates is not None and paired_templates not in templates.PAIRED:
        raise InvalidParams(f"unknown paired templates {paired_templates!r}; known: {', '.join(templates.PAIRED)}")
    state_dict = find_state_dict(read(path), MARK)
    if state_dict is None:
        raise InvalidData(
            f"{path} holds no tensor {MARK!r}, so it is no checkpoint of the reference implementation of CLIPN; "
            'a CLIP without a "No" text encoder has to be trained first'
        )
    if PROMPTS in state_dict.tensors and paired_templates is not None:
        raise InvalidParams(
            f"{path} holds {PROMPTS}, so it is the learnable variant, which takes no paired templates; "
            "leave --paired-templates out"
        )

    clip = backbone.load(backbone_folder)
    tensors = state_dict.tensors
    check_plain(tensors, clip.model, path)
    encoder = to_no_text_encoder(tensors, clip.model, path)
    towers = compare_towers(tensors, clip.model, path)
    learnable = encoder.n_prompts > 0
    config = NoEncoderConfig(
        variant="learnable" if learnable else "handcrafted",
        n_prompts=encoder.n_prompts,
        paired_templates=None if learnable else paired_templates or "reference",
        learned_scale=False,
        backbone=clip.fingerprint,
        seed=None,
    )
    with atomic_folder(out) as temporary:
        no_encoder.save(encoder, config, temporary)
        write_json(temporary / SOURCE, {"file": path.name, "sha256": sha256(path)})

    trained = [tensor for name, tensor in tensors.items() if _is_trained(name)]
    compared = {*frozen_tensors(clip.model), SCALE}
    scale = tensors.get(SCALE)
    return Imported(
        config=config,
        tensors=len(trained),
        parameters=sum(tensor.numel() for tensor in trained),
        state_dict=state_dict,
        left_out=tuple(name for name in tensors if not _is_trained(name) and name not in compared),
        towers=towers,
        logit_scale=None if scale is None else (float(scale.mean().exp()), clip.logit_scale),
    )


def describe(imported: Imported) -> list[str]:
    """Return what was read, in lines for a person."""
    config, state_dict = imported.config, imported.state_dict
    variant = f"{config.n_prompts} learnable prompts" if config.n_prompts else f"templates {config.paired_templates}"
    lines = [
        f"read      {'.'.join(state_dict.keys) or 'the file itself'}"
        + (f", names without the prefix {state_dict.prefix!r}" if state_dict.prefix else ""),
        f"variant   {config.variant}, {variant}",
        f"taken     {imported.tensors} trained tensors, {imported.parameters:,} parameters, as float32",
    ]
    lines += [_tower_line(tower) for tower in imported.towers]
    if imported.logit_scale:
        lines.append(
            "scale     {:.4g} in the file, where it was not trained, so it is left out; {:.4g} in the backbone".format(
                *imported.logit_scale
            )
        )
    left_out = [*state_dict.beside, *imported.left_out]
    if left_out:
        # Names come from the file; escaped, they cannot steer a terminal.
        names = [name.encode("unicode_escape").decode()[:60] for name in left_out[:SHOWN]]
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        lines.append(f"left out  {', '.join(names)}{more}")
    return lines


def _tower_line(tower: Tower) -> str:
    if not tower.matched:
        return f"backbone  the file holds no {tower.name}; whether it was trained with this one could not be checked"
    return f"backbone  {tower.matched} of {tower.total} tensors of the {tower.name} are in the file, and match"


def to_no_text_encoder(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> NoTextEncoder:
    """Return the "No" text encoder that a reference state dict describes, in float32.

    Args:
        tensors: the state dict, by the reference's names without prefix; `check_plain` has passed it.
        model: the open_clip model that it was trained with.
        path: where it comes from, for messages.

    Raises:
        BackboneMismatch: a tensor's shape, or the number of layers, is not that of `model`.
        InvalidData: tensors are missing.
        NonFinite: a tensor holds NaN or an infinity.
    """
    prompts = tensors.get(PROMPTS)
    if prompts is not None and (prompts.dim() != 3 or not len(prompts)):
        raise InvalidData(f"{path}: {PROMPTS} is {list(prompts.shape)}; it has to be [prompts, context length, width]")
    encoder = NoTextEncoder(model, 0 if prompts is None else len(prompts))
    own_names = {_reference_name(name): name for name in encoder.state_dict()}
    needed = {name: encoder.state_dict()[own] for name, own in own_names.items()}
    for name, tensor in needed.items():
        if name in tensors and tensors[name].shape != tensor.shape:
            raise BackboneMismatch(
                f"{path}: {name} is {list(tensors[name].shape)}, but this backbone needs {list(tensor.shape)}; the "
                "checkpoint was trained with another architecture. Name its backbone with --backbone"
            )
    surplus = [name for name in tensors if _is_trained(name) and name not in needed]
    if surplus:
        raise BackboneMismatch(
            f"{path} holds {len(surplus)} trained tensors that this backbone has no place for, such as {surplus[0]!r}; "
            "the checkpoint was trained with another architecture. Name its backbone with --backbone"
        )
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise InvalidData(
            f'{path} lacks {len(missing)} of the {len(needed)} tensors that this backbone\'s "No" text encoder needs, '
            f"such as {missing[0]}; it is incomplete, or was trained with another architecture"
        )
    state = {}
    for name, own in own_names.items():
        state[own] = tensors[name].to(torch.float32)
        if not bool(torch.isfinite(state[own]).all()):
            raise NonFinite(f"{path}: {name} holds NaN or an infinity; training went wrong, or the file is damaged")
    encoder.load_state_dict(state)
    return encoder.eval()


def compare_towers(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> tuple[Tower, ...]:
    """Compare the frozen tensors of a checkpoint, as far as it holds them, with the backbone's.

    They may differ by rounding to the coarser of half precision and the checkpoint's own.

    Raises:
        BackboneMismatch: a tensor differs, or the backbone has none of its name; names the first.
    """
    frozen = frozen_tensors(model)
    roots = {_root(name) for name in frozen}
    for name, tensor in tensors.items():
        difference = _difference(tensor, frozen.get(name)) if _root(name) in roots else None
        if difference:
            raise BackboneMismatch(
                f"{path} was trained with another backbone: {name!r} {difference}. Name the one it was trained with "
                "with --backbone"
            )
    return tuple(
        Tower(kind, len(names & tensors.keys()), len(names))
        for kind, names in (
            ("text tower", {name for name in frozen if _root(name) != IMAGE}),
            ("image tower", {name for name in frozen if _root(name) == IMAGE}),
        )
    )


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the text and image tower of an open_clip model by the reference's names."""
    visual: nn.Module = model.visual  # type: ignore[assignment]
    image = {f"{IMAGE}.{name}": tensor for name, tensor in visual.state_dict().items()}
    return {**TextEncoder(model).state_dict(), **image}


def check_plain(tensors: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Refuse what a file can hold in place of an array: sparse, integer, without data, larger than its data.

    Raises:
        InvalidData: names the first such tensor among those that are read or compared.
    """
    frozen = frozen_tensors(model)
    for name, tensor in tensors.items():
        counter = name in frozen and not frozen[name].is_floating_point()
        if counter or not (_is_trained(name) or name in frozen or name == SCALE):
            continue
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.dtype in DTYPES
        if not plain or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise InvalidData(f"{path}: {name} is no plain array of floating-point numbers; the file is damaged")


def _difference(theirs: Tensor, ours: Tensor | None) -> str | None:
    if ours is None:
        return "is none of this one's tensors"
    if theirs.shape != ours.shape:
        return f"is {list(theirs.shape)}, but {list(ours.shape)} in this one"
    if not ours.is_floating_point():
        return None  # counters, which change nothing
    rounding = max(torch.finfo(theirs.dtype).eps, torch.finfo(torch.float16).eps)
    theirs = theirs.to(ours.dtype)
    if torch.allclose(theirs, ours, rtol=rounding, atol=1e-6):
        return None
    return f"differs from this one's by up to {float((theirs - ours).abs().max()):.3g}"


def _is_trained(name: str) -> bool:
    return _root(name).endswith("_no")


def _root(name: str) -> str:
    return name.partition(".")[0]


def _reference_name(own: str) -> str:
    """Return the reference's name of a tensor: `encoder.ln_final.bias` → `ln_final_no.bias`."""
    if own == "prompts":
        return PROMPTS
    root, dot, rest = own.removeprefix("encoder.").partition(".")
    return f"{root}_no{dot}{rest}"
