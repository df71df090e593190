"""The parameters of the pipeline: one frozen dataclass per section of `params.yaml`.

Everything that changes a result is here. Facts of a machine (device, workers, addresses, folders of
licensed data) are read from the environment instead and never enter this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from clipn.backbone_config import BackboneParams
from clipn.config_types import STRICT, Count, Name, NotNegative, Positive, Share
from clipn.errors import InvalidParams, MissingInput
from clipn.project import checks
from clipn.study_config import AttackParams, RobustnessParams, StudyParams, WordsParams

Entry = TypeVar("Entry")

ReaderName = Literal["symbols", "digits", "folder", "tar", "webdataset", "cifar", "svhn", "stl10", "layout"]


@dataclass(frozen=True, config=STRICT)
class WorldParams:
    """How the miniature world is drawn, for training images and for evaluation sets alike."""

    image_size: Annotated[int, Field(ge=16)]
    """Side of a picture in pixels."""
    noise: NotNegative
    """Standard deviation of the pixel noise, in grey levels of 255."""
    rotation: NotNegative
    """Largest rotation to either side, in degrees."""
    seed: int


@dataclass(frozen=True, config=STRICT)
class CaptionsParams:
    """Where training captions and images come from."""

    source: Literal["symbols", "table", "folder", "webdataset", "cc3m"]
    """`symbols`: the miniature world. `table`: a TSV or Parquet of your own. `folder`: images with their captions
    in text files beside them. `webdataset`: tars of pairs. `cc3m`: the official list."""
    path: str
    """What DVC watches: the table, folder or tar itself, or the data that the source is made from."""
    pattern: str = "*.tar"
    """Which files of a folder of webdataset tars are taken."""
    limit: Count | None = None
    """Take only the first so many rows."""
    images_per_symbol: Count = 60
    missing: Share = 0.0
    """Share of links of the miniature world that lead nowhere (404)."""
    corrupt: Share = 0.0
    """Share of files of the miniature world that are no images."""
    flaky: Share = 0.0
    """Share of files of the miniature world that are refused once (503) before they are served."""


@dataclass(frozen=True, config=STRICT)
class DownloadParams:
    """How img2dataset fetches, and what counts as a good download."""

    image_size: Count
    resize_mode: Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
    encode_format: Literal["jpg", "png", "webp"]
    encode_quality: Annotated[int, Field(ge=0, le=100)]
    """JPEG or WebP quality; for png the compression level, 0 to 9."""
    samples_per_shard: Annotated[int, Field(ge=2)]
    timeout_seconds: Count
    """Per socket operation."""
    image_deadline_seconds: Count
    """For one address in all, with redirects and retries."""
    shard_deadline_seconds: Count
    """For the addresses of one shard; those that are left then count as timed out."""
    deadline_seconds: Count
    """For one whole pass; then the downloader and all its children are stopped, and the stage fails."""
    max_image_bytes: Count
    """Larger files are not fetched to the end."""
    retries: Annotated[int, Field(ge=0)]
    """How often a transient failure (time-out, lost connection, 429, 5xx) is tried again at once."""
    passes: Count
    """The first fetches everything; later ones what failed for a transient reason or arrived damaged."""
    private_addresses: bool
    """Whether addresses of this machine and of local networks may be fetched, or redirected to."""
    opt_out_directives: tuple[str, ...]
    """Values of the header X-Robots-Tag with which a server asks not to use an image."""
    min_success: Share
    """The stage fails when a smaller share of the addresses gave a good image."""


@dataclass(frozen=True, config=STRICT)
class FeaturesParams:
    batch_size: Count
    max_pixels: Count
    """Larger images are refused before they are decoded."""
    max_dropped: Share
    """The stage fails when a larger share of a set's images cannot be read."""
    views: Annotated[int, Field(ge=0)]
    """Features of so many random crops of each training image are kept besides those of the centre crop."""
    view_scale: tuple[Share, Share]
    """Smallest and largest share of the image's area that a random crop shows."""
    patches: bool
    """Whether evaluation features hold those of patches too, which GL-MCM needs: a hundred times the size."""


@dataclass(frozen=True, config=STRICT)
class PartParams:
    """Some parts of a set that is dealt out like cards: image i, in sorted order, belongs to part 1 + i mod `of`.

    Sets that take different parts of one folder share no image and have about equal shares of every class.
    """

    of: Annotated[int, Field(ge=2)]
    take: Annotated[tuple[Count, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class SetParams:
    """One evaluation set."""

    reader: ReaderName
    path: str
    """What DVC watches: the folder or file that holds the images, or the data they are made from."""
    registered: Name | None = None
    """Name in `clipn/data/sets/entries`, which knows the address, checksum and licence."""
    block: Name | None = None
    images_per_class: Count | None = None
    """How many pictures of each symbol are drawn."""
    part: PartParams | None = None
    """Take only some parts of the images, so that others can be another set."""
    limit: Count | None = None
    """Keep so many of these images, spread evenly over them."""
    class_names: str = "folders"
    """`folders`: the class folders' names, or what the registry says. `imagenet`: ImageNet's names for WordNet
    folders, as CLIPN's code has them; `imagenet_clean`: the same without the two that stand there twice. Else a
    text file with one name a line, in the order of the sorted folders."""
    labelled: bool = True
    """Whether the folders are classes; an OOD set need not have any."""


@dataclass(frozen=True, config=STRICT)
class BenchmarkParams:
    """Which sets stand against each other."""

    id: Name
    ood: Annotated[tuple[Name, ...], Field(min_length=1)]
    fit: Name | None = None
    """A set of ID images of the same classes that is in no test, for scores that need ID images."""
    validation: Name | None = None
    """Another benchmark, of other sets, on which choices between combinations of scores are made."""


@dataclass(frozen=True, config=STRICT)
class CheckParams:
    """The look at AUROC while training runs. Nothing is chosen by it, and no weight depends on it."""

    id: Name
    """The set that stands for in-distribution; needs classes."""
    ood: Name
    every: Annotated[int, Field(ge=0)]
    """Steps between two looks; 0 switches them off."""
    images: Count
    """How many images of each set are taken, spread evenly over it."""
    templates: str
    """Name of a template set of `clipn.prompts.templates`."""


@dataclass(frozen=True, config=STRICT)
class TrainParams:
    """Training of the no text encoder on cached features."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    """Pairs of a step, over all processes together."""
    lr: Positive
    beta1: Share
    beta2: Share
    eps: Positive
    weight_decay: NotNegative
    """Not applied to norms, biases and other parameters of fewer than two dimensions."""
    variant: Literal["learnable", "handcrafted"]
    """`learnable`: prompts that are learned. `handcrafted`: paired yes/no templates, one pair drawn a caption."""
    n_prompts: Count
    """Learnable no-prompts."""
    draw_mean: bool
    """Whether a caption may also draw the prompts' mean, which is what testing uses."""
    paired_templates: str
    """Name of a paired set of `clipn.prompts.templates`, for the handcrafted variant."""
    weight_yes: NotNegative
    """Weight of the yes part of the image-text binary-opposite loss."""
    weight_no: NotNegative
    """Weight of its no part."""
    weight_tso: NotNegative
    """Weight of the text semantic-opposite loss."""
    temperature: Literal["fixed", "learned"]
    """Whether the scale of the cosine similarities stays the backbone's own or is trained."""
    precision: Literal["float32", "bfloat16"]
    """Arithmetic inside the no encoder; weights, losses and optimizer are float32 in either."""
    shuffle_rows: Annotated[int, Field(ge=2)]
    """Rows in memory that are shuffled together; they come from randomly drawn parts of all shards."""
    check: CheckParams


@dataclass(frozen=True, config=STRICT)
class OverlapParams:
    """Which images of a benchmark count as duplicates, and what becomes of them."""

    threshold: Annotated[float, Field(gt=0, le=1)]
    """Two images are near duplicates if the cosine of their features is at least this."""
    against_training: bool
    """Whether the sets are also compared with the training images."""
    leave_out: Literal["none", "id", "id-and-training"]
    """OOD images that `evaluate` drops: none, duplicates of ID images, or also those of training images."""


@dataclass(frozen=True, config=STRICT)
class EvaluateParams:
    benchmarks: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Which of the benchmarks are run."""
    imported: tuple[Name, ...]
    """Models of `models/imported` that are evaluated beside the trained ones."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Those that a benchmark cannot feed, for want of ID images or of a word list, are left out there and named."""
    bootstrap: Annotated[int, Field(ge=100)]
    """Resamples behind the 95 % intervals."""
    templates: str
    """Name of a template set of `clipn.prompts.templates`."""
    logit_scale: Positive | None
    """Scale of the cosine similarities at test; null takes the backbone's own, or the learned one."""
    fpr_convention: Literal["id-interpolated", "id-nearest", "ood-first"]


@dataclass(frozen=True, config=STRICT)
class ReportParams:
    title: str
    published: bool
    """Whether published tables are shown: beside measured benchmarks, and of ImageNet-1K where it was not measured."""
    curves: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods that are drawn; tables hold all."""


@dataclass(frozen=True, config=STRICT)
class Params:
    """The whole of `params.yaml`."""

    world: WorldParams
    captions: CaptionsParams
    download: DownloadParams
    backbone: BackboneParams
    features: FeaturesParams
    sets: dict[Name, SetParams]
    benchmarks: dict[Name, BenchmarkParams]
    train: TrainParams
    overlap: OverlapParams
    words: WordsParams
    evaluate: EvaluateParams
    study: StudyParams
    attack: AttackParams
    robustness: RobustnessParams
    report: ReportParams


_PARAMS = TypeAdapter(Params)


def parse(values: dict[str, Any], origin: str = "params") -> Params:
    """Check `values` and turn them into `Params`.

    Raises:
        InvalidParams: with every problem found, not only the first.
    """
    try:
        params = _PARAMS.validate_python(values)
    except ValidationError as error:
        problems = [_describe(e) for e in error.errors()]
    else:
        problems = checks.contradictions(params)
    if problems:
        raise InvalidParams(f"{origin} has {len(problems)} problem(s):\n" + "\n".join(f"  - {p}" for p in problems))
    return params


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        MissingInput: there is no such file.
        InvalidParams: it is no YAML mapping, or its content is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run in the project's root, or write it with 'clipn profile NAME'")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidParams(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InvalidParams(f"{path} has to hold a mapping of sections, not {type(values).__name__}")
    return parse(values, str(path))


def named(entries: Mapping[str, Entry], section: str, name: str) -> Entry:
    """The entry `name` of a section that maps names to entries.

    Raises:
        InvalidParams: there is none of this name.
    """
    if name not in entries:
        raise InvalidParams(f"{section} has no {name!r}; known: {', '.join(entries)}")
    return entries[name]


def _describe(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"{where}: unknown parameter; remove it or correct its name"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: is missing"
    value = repr(error["input"])
    return f"{where}: {error['msg']} (it is {value if len(value) <= 80 else value[:77] + '...'})"
