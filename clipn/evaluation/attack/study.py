"""The attack on one benchmark, from images to the report: draw, move, encode again, score."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipn.config import AttackParams, BenchmarkParams
from clipn.evaluation.attack import compare, search
from clipn.evaluation.attack import pairs as attack_pairs
from clipn.evaluation.attack.compare import Moved
from clipn.evaluation.attack.pairs import Pair
from clipn.features import crops, select
from clipn.features.crops import Crops
from clipn.features.encode import encode_set
from clipn.features.lookup import Images
from clipn.models.backbone import Backbone
from clipn.scores.panel import BySeed, Panel, kinds_of
from clipn.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Attacked:
    """OOD images that were moved.

    Attributes:
        kinds: how far each kind of change came, and what scores make of it.
        pairs: N OOD images with their targets.
        starts: the OOD images [N, H, W, 3].
        targets: the ID images that they were moved towards [N, H, W, 3].
        moved: kind → the moved images [N, H, W, 3].
    """

    kinds: Mapping[str, Any]
    pairs: Sequence[Pair]
    starts: Crops
    targets: Crops
    moved: Mapping[str, Crops]

    def write(self, folder: Path) -> None:
        """Write a tar and a contact sheet of each kind."""
        for kind, pictures in self.moved.items():
            attack_pairs.write(folder, kind, self.pairs, self.starts, pictures, self.targets)


def run(
    clip: Backbone,
    benchmark: BenchmarkParams,
    sets: Mapping[str, Images],
    panel: Panel,
    evidence: BySeed,
    params: AttackParams,
    *,
    left_out: Mapping[str, Collection[str]],
    max_pixels: int,
    workers: int = 1,
    progress: Progress = silent,
) -> Attacked:
    """Move OOD images of a benchmark in every way and score them again.

    The targets come from the set of ID images that is in no test, or from the ID test images where there is
    none. Start and target features are those of the store; the moved images go through the tower as the
    8-bit pictures that they are.

    Args:
        clip: the backbone, which the features of `sets` come from.
        benchmark: names of its sets.
        sets: name → its images.
        panel: fitted methods.
        evidence: of the ID classes, with which they were fitted.
        params: of the attack.
        left_out: OOD set → keys of images that do not count, such as duplicates of ID images.
        max_pixels: larger images are refused before they are decoded.
        workers: as in `clipn.evaluation.attack.search.move`.
        progress: called with the images times steps done and in all, over all kinds.

    Raises:
        MissingInput, InvalidData: an image cannot be had, as in `clipn.features.lookup`.
        NonFinite: a gradient or a score is NaN or infinite.
    """
    id_store, source = sets[benchmark.id].features, sets[benchmark.fit or benchmark.id]
    ood = {name: select.keys_of(sets[name].features, left_out.get(name, ())) for name in benchmark.ood}
    pairs = attack_pairs.draw(ood, select.keys_of(source.features), params.images, params.seed)
    starts, targets = attack_pairs.read(pairs, sets, source, clip, max_pixels)

    columns = panel.columns(id_store.meta, "pooled")
    before = select.join(
        [select.take(sets[name].features, keys, columns) for name in benchmark.ood if (keys := _keys(pairs, name))]
    )
    goals = select.take(source.features, [pair.target for pair in pairs], columns)
    names = [pair.name for pair in pairs]
    kinds, steps = search.kinds(params), len(pairs) * params.steps
    pictures: dict[str, Crops] = {}
    for number, (kind, weight) in enumerate(kinds.items()):

        def of_all_kinds(done: int, total: int, before: int = number * steps) -> None:
            progress(before + done, steps * len(kinds))

        pictures[kind] = search.move(
            clip, starts, targets, names, weight, params, workers=workers, progress=of_all_kinds
        )

    def moved(kind: str) -> Moved:
        parts = crops.batches(pictures[kind], params.batch_size)
        return Moved(
            weight=kinds[kind],
            features=encode_set(clip, panel.needed(id_store.meta), parts, names, before.label),
            change=compare.change(starts, pictures[kind]),
            amplification=attack_pairs.amplification(starts, pictures[kind]),
        )

    result = compare.compare(
        panel,
        _without_targets(panel, evidence, pairs, sets, benchmark),
        (id_store.read(group, columns) for group in id_store.row_groups()),
        before,
        goals,
        {kind: moved(kind) for kind in kinds},
    )
    return Attacked(result, pairs, starts, targets, pictures)


def _keys(pairs: Sequence[Pair], name: str) -> list[str]:
    return [pair.key for pair in pairs if pair.set == name]


def _without_targets(
    panel: Panel, evidence: BySeed, pairs: Sequence[Pair], sets: Mapping[str, Images], benchmark: BenchmarkParams
) -> Panel:
    """The methods that need ID images, fitted again without the targets."""
    if benchmark.fit is None:
        return Panel({})
    again = [name for name, method in panel.methods.items() if method.needs("images")]
    reduced = compare.without_targets(evidence, {pair.target for pair in pairs})
    return Panel.fit(again, reduced, kinds_of(sets[benchmark.id].features.meta))
