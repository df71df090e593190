"""How far scores hold when images are corrupted and classes go by other names.

AUROC is the mean over the OOD sets of a benchmark. Images are corrupted after they were resized and
cropped for the tower; the ID images that some scores are fitted on stay clean.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from clipn import metrics, scores
from clipn.config import BenchmarkParams
from clipn.errors import InvalidData
from clipn.evaluation.corruptions import Corruption
from clipn.features import select
from clipn.features.encode import encode_set
from clipn.features.inputs import read_crops
from clipn.features.lookup import Images
from clipn.features.rows import FeatureBatch
from clipn.models.backbone import Backbone
from clipn.scores.panel import BySeed, Panel, Values, kinds_of
from clipn.utils import threads
from clipn.utils.arrays import unit_norm
from clipn.utils.progress import Progress, silent

CLEAN = "clean"
WHERE = {"id": (True, False), "ood": (False, True), "both": (True, True)}
"""Name → whether the ID set and whether the OOD sets are corrupted."""
NAMES = ("yes", "no")
"""Evidence that changes with the names of the classes."""


@dataclass(frozen=True, eq=False)
class Renaming:
    """The classes by other names or in other sentences.

    Attributes:
        change: in words.
        classes: how many of the classes it changes.
        evidence: of the classes so named.
    """

    change: str
    classes: int
    evidence: BySeed


@dataclass(frozen=True)
class _Scores:
    """One set in one condition: the methods' scores, and the zero-shot accuracy where the images have classes."""

    values: Values
    accuracy: float | None


Condition = Corruption | str
"""A corruption, `CLEAN`, or the `change` of a renaming."""


def synonyms(classes: Sequence[str], synonyms_of: Callable[[str], Sequence[str]]) -> tuple[tuple[str, ...], int]:
    """Return every class by its first synonym that is not the name of another class, and how many have one.

    Args:
        classes: names.
        synonyms_of: name → its synonyms, the most usual first.
    """
    taken = {name.casefold() for name in classes}
    renamed: list[str] = []
    for name in classes:
        other = next((word for word in synonyms_of(name) if word.casefold() not in taken), name)
        taken.add(other.casefold())
        renamed.append(other)
    return tuple(renamed), sum(a != b for a, b in zip(classes, renamed, strict=True))


class Study:
    """Score one benchmark under corruptions and renamings.

    Args:
        clip: the backbone.
        benchmark: names of its sets.
        panel: fitted methods.
        evidence: what they were fitted with.
        batch_size: images that the tower takes at once.
        max_pixels: larger images are refused before they are decoded.
        workers: corruptions of a set that are made side by side.
    """

    def __init__(
        self,
        clip: Backbone,
        benchmark: BenchmarkParams,
        panel: Panel,
        evidence: BySeed,
        *,
        batch_size: int,
        max_pixels: int,
        workers: int = 1,
    ) -> None:
        self._clip, self._benchmark, self._panel, self._evidence = clip, benchmark, panel, evidence
        self._batch_size, self._max_pixels, self._workers = batch_size, max_pixels, workers

    def run(
        self,
        sets: Mapping[str, Images],
        keys: Mapping[str, Sequence[str]],
        corruptions: Sequence[Corruption],
        renamings: Sequence[Renaming] = (),
        progress: Progress = silent,
    ) -> dict[str, Any]:
        """Score the images in every condition: the parts `images`, `clean`, `corruptions` and `names` of the result.

        Args:
            sets: of the benchmark.
            keys: set → which of its images are taken.
            corruptions: of which each is applied to the ID set, to the OOD sets and to both.
            renamings: with which the clean images are scored.
            progress: called with the images corrupted and in all.

        Raises:
            MissingInput, InvalidData: an image cannot be had, as in `clipn.features.lookup`, or a set gives none.
            NonFinite: a method gave NaN or infinity.
        """
        names = (self._benchmark.id, *self._benchmark.ood)
        if empty := [name for name in names if not keys[name]]:
            raise InvalidData(f"set {empty[0]!r} gives no images but duplicates, which overlap.leave_out drops")
        refitted = [(renaming, self._refitted(renaming, sets)) for renaming in renamings]
        total, done = sum(len(keys[name]) for name in names) * len(corruptions), 0
        scored: dict[tuple[str, Condition], _Scores] = {}
        for name in names:  # one set after the other, since patch features of all would not fit in memory
            columns = self._panel.columns(sets[name].features.meta)
            clean = select.take(sets[name].features, keys[name], columns)
            scored[name, CLEAN] = self._score(self._panel, clean, self._evidence)
            for renaming, panel in refitted:
                scored[name, renaming.change] = self._score(panel, clean, renaming.evidence)
            for corruption, corrupted in self._corrupted(name, sets[name], clean, corruptions):
                scored[name, corruption] = self._score(self._panel, corrupted, self._evidence)
                done += len(clean)
                progress(done, total)
        return {
            "images": {name: len(keys[name]) for name in names},
            CLEAN: self._entry(scored, CLEAN, CLEAN),
            "corruptions": [
                {
                    "name": corruption.name,
                    "level": corruption.level,
                    "where": where,
                    **self._entry(scored, *(corruption if touched else CLEAN for touched in WHERE[where])),
                }
                for corruption in corruptions
                for where in WHERE
            ],
            "names": [
                {
                    "change": renaming.change,
                    "classes_changed": renaming.classes,
                    **self._entry(scored, renaming.change, renaming.change),
                }
                for renaming, _ in refitted
            ],
        }

    def _refitted(self, renaming: Renaming, sets: Mapping[str, Images]) -> Panel:
        """The methods with those fitted again that know the names of the classes."""
        kinds = kinds_of(sets[self._benchmark.id].features.meta)
        again = [name for name, method in self._panel.methods.items() if method.needs(*NAMES)]
        return Panel({**self._panel.methods, **Panel.fit(again, renaming.evidence, kinds).methods})

    def _corrupted(
        self, name: str, images: Images, clean: FeatureBatch, corruptions: Sequence[Corruption]
    ) -> Iterator[tuple[Corruption, FeatureBatch]]:
        """The features of a set's images after each corruption, which are made side by side."""
        if not corruptions:
            return
        keys, meta = list(clean.keys), self._panel.needed(images.features.meta)
        pictures = read_crops(images, keys, self._clip, self._max_pixels, self._workers)
        # A GPU has memory for one batch, and towers give the patches of one batch at a time.
        alone = threading.Lock() if self._clip.device.type != "cpu" or meta.patches else nullcontext()

        def encode(corruption: Corruption) -> FeatureBatch:
            parts = []
            for start in range(0, len(keys), self._batch_size):
                part = slice(start, start + self._batch_size)
                changed = [
                    np.asarray(corruption(Image.fromarray(picture), f"{name}/{key}"))
                    for picture, key in zip(pictures[part], keys[part], strict=True)
                ]
                labels = None if clean.label is None else clean.label[part]
                with alone:
                    parts.append(encode_set(self._clip, meta, [np.stack(changed)], keys[part], labels))
            return select.join(parts)

        with threads.pool(min(self._workers, len(corruptions))) as pool:
            yield from zip(corruptions, pool.map(encode, corruptions), strict=True)

    def _score(self, panel: Panel, batch: FeatureBatch, evidence: BySeed) -> _Scores:
        yes, labels, accuracy = evidence[None].yes, batch.label, None
        if yes is not None and labels is not None and (labels >= 0).all():
            accuracy = metrics.accuracy((unit_norm(batch.image) @ yes.T).argmax(axis=1), labels)
        return _Scores(panel.score([batch]), accuracy)

    def _entry(
        self, scored: Mapping[tuple[str, Condition], _Scores], of_id: Condition, of_ood: Condition
    ) -> dict[str, Any]:
        """ID accuracy and AUROC of all methods with the ID set in one condition and the OOD sets in another."""
        id_set = scored[self._benchmark.id, of_id]
        ood_values = [scored[name, of_ood].values for name in self._benchmark.ood]

        def average(method: str, i: int) -> float:
            id_values = id_set.values[method][i]
            return float(np.mean([metrics.auroc(id_values, values[method][i]) for values in ood_values]))

        return {
            "id_accuracy": id_set.accuracy,
            "methods": {
                method: {
                    "trained": scores.is_trained(method),
                    "auroc": [average(method, i) for i in range(len(id_set.values[method]))],
                }
                for method in self._panel.methods
            },
        }
