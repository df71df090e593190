"""What is known of the ID classes of a benchmark, gathered from the files of earlier stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from clipn import config, paths, scores
from clipn.config import BenchmarkParams, Params
from clipn.data import manifest
from clipn.errors import InvalidData
from clipn.evaluation import duplicates
from clipn.features.store import FeatureBatch, FeatureStore
from clipn.models import no_encoder
from clipn.models.backbone import Backbone
from clipn.prompts import class_features, words
from clipn.scores import Evidence


@dataclass(frozen=True)
class Sets:
    """The feature stores of a benchmark.

    Attributes:
        benchmark: which sets they are.
        stores: set name → its features.
        classes: names of the ID classes.
    """

    benchmark: BenchmarkParams
    stores: Mapping[str, FeatureStore]
    classes: tuple[str, ...]

    @classmethod
    def open(cls, params: Params, name: str, fingerprint: str, folder: Path = paths.SET_FEATURES) -> Sets:
        """Open the features of a benchmark's sets, made by the backbone of this fingerprint.

        Raises:
            InvalidParams: there is no such benchmark.
            MissingInput, BackboneMismatch: as `FeatureStore.open`.
            InvalidData: the ID set has no classes, or the fit set has others or shares images with a test set.
        """
        benchmark = config.named(params.benchmarks, "benchmarks", name)
        fit = () if benchmark.fit is None else (benchmark.fit,)
        names = (benchmark.id, *benchmark.ood, *fit)
        stores = {key: FeatureStore.open(folder / key, fingerprint) for key in names}
        classes = stores[benchmark.id].meta.classes
        if not classes:
            raise InvalidData(f"the ID set {benchmark.id!r} of benchmark {name!r} has no classes")
        if benchmark.fit is not None:
            _check_fit(benchmark.fit, benchmark.id, stores)
        return cls(benchmark, stores, classes)

    def load(self, methods: Collection[str], name: str) -> FeatureBatch:
        """One set with the features that the methods take."""
        kinds = {scores.REGISTRY[method].takes for method in methods}
        columns = self.stores[name].meta.schema().names
        return self.stores[name].load(
            ["image", "label", *(c for c in ("pooled", "patches") if c in kinds & {*columns})]
        )


def gather(params: Params, sets: Sets, clip: Backbone, methods: Collection[str], model: Path | None = None) -> Evidence:
    """All that these methods may need: class texts, words, ID images.

    Args:
        params: of the pipeline.
        sets: of the benchmark.
        clip: the backbone that the features come from.
        methods: names of scores; what none of them needs is not read.
        model: folder of a no encoder that was trained with `clip`; None leaves "no" out.
    """
    options = params.evaluate
    needs = {need for method in methods for need in scores.REGISTRY[method].needs}
    if model is None:
        no, sentences = None, class_features.plain_sentences(options.templates)
    else:
        no = no_encoder.load(model, clip.model, clip.fingerprint).to(clip.device)
        sentences = class_features.sentences(no_encoder.read_config(model), options.templates)
    evidence = class_features.class_evidence(clip, no, sets.classes, sentences, options.logit_scale)
    if "words" in needs and clip.has_text and (paths.WORDS / words.FILE).is_file():
        # A word that names a class is no negative label, however far it is from the other classes.
        listed = words.read(paths.WORDS / words.FILE, clip.fingerprint).without(sets.classes)
        evidence = replace(evidence, words=listed)
    if "images" in needs and sets.benchmark.fit is not None:
        fitted = [method for method in methods if "images" in scores.REGISTRY[method].needs]
        evidence = replace(evidence, images=sets.load(fitted, sets.benchmark.fit))
    return evidence


def left_out(params: Params, name: str) -> dict[str, frozenset[str]]:
    """OOD set of a benchmark → images that are duplicates and do not count."""
    found = duplicates.read(paths.OVERLAP / name)
    return duplicates.left_out(found, params.benchmarks[name].ood, params.overlap.leave_out)


def _check_fit(fit: str, tested: str, stores: Mapping[str, FeatureStore]) -> None:
    if stores[fit].meta.classes != stores[tested].meta.classes:
        raise InvalidData(
            f"the set {fit!r}, which stands for the ID images, has other classes than {tested!r}; "
            "both need the same class folders or names"
        )
    of_fit, of_test = (
        set(manifest.read_table(paths.SETS / name / "manifest.parquet", ["sha256"])["sha256"].drop_null().to_pylist())
        for name in (fit, tested)
    )
    if shared := of_fit & of_test:
        raise InvalidData(
            f"the sets {fit!r} and {tested!r} share {len(shared)} images; scores that were fitted on them would look "
            "better than they are. Give each of them other images, as with part"
        )
