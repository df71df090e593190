"""Parameters of training images and evaluation sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from clipn.config.types import STRICT, Count, Name, NotNegative, Seed, Share

CLASS_NAMES = ("folders", "imagenet", "imagenet_clean")
"""Values of `SetParams.class_names` that are no file."""
NAMES_FILE = "clipn/data/sets/imagenet_classes.tsv"
"""The class names that come with the package."""


def names_file_of(class_names: str) -> str:
    """Return the file of class names that DVC watches for a value of `SetParams.class_names`."""
    return NAMES_FILE if class_names in CLASS_NAMES else class_names


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
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class CaptionsParams:
    """Where training captions and images come from."""

    source: Literal["symbols", "table", "folder", "webdataset", "cc3m"]
    """`symbols`: the miniature world. `table`: a TSV or Parquet of your own. `folder`: images with their captions
    in text files beside them. `webdataset`: tars of pairs. `cc3m`: the official list."""
    path: str
    """What DVC watches for the captions: the table, folder or tar itself, or the data that the source is made from."""
    images: str
    """What DVC watches for the download: the folder of the photographs that a table names, else the same as `path`."""
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
    names_file: str = NAMES_FILE
    """What DVC watches for the class names: the text file that `class_names` names, else ImageNet's names.
    `clipn profile` writes it."""


@dataclass(frozen=True, config=STRICT)
class BenchmarkParams:
    """Which sets stand against each other."""

    id: Name
    ood: Annotated[tuple[Name, ...], Field(min_length=1)]
    fit: Name | None = None
    """A set of ID images of the same classes that is in no test, for scores that need ID images."""
    validation: Name | None = None
    """Another benchmark, of other sets, on which choices between combinations of scores are made."""

    @property
    def sets(self) -> tuple[Name, ...]:
        """All sets: the ID set, the OOD sets, and the fit set if there is one."""
        return (self.id, *self.ood, *(() if self.fit is None else (self.fit,)))
