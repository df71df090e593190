"""Gather the evidence of a benchmark's ID classes: class texts, word lists, ID images that are in no test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipn import scores
from clipn.config import BenchmarkParams
from clipn.data import manifest
from clipn.errors import InvalidData, MissingInput
from clipn.features.lookup import Images
from clipn.features.store import FeatureBatch, FeatureStore
from clipn.models import no_encoder
from clipn.models.backbone import Backbone
from clipn.prompts import class_features, words
from clipn.scores import Evidence
from clipn.scores.panel import BySeed

MANIFEST = "manifest.parquet"
"""Beside the tars of an evaluation set."""


@dataclass(frozen=True)
class Sets:
    """The feature stores of a benchmark.

    Attributes:
        benchmark: names of its sets.
        stores: set name → its features.
        images: folder of the evaluation sets' tars and manifests, a folder a set; None where there are only features.

    Raises:
        MissingInput: a set has no features here.
        InvalidData: the ID set has no classes, or the fit set has others or shares images with the ID test set.
    """

    benchmark: BenchmarkParams
    stores: Mapping[str, FeatureStore]
    images: Path | None = None

    def __post_init__(self) -> None:
        id_set, fit = self.benchmark.id, self.benchmark.fit
        for name in self.benchmark.sets:
            if name not in self.stores:
                raise MissingInput(f"the benchmark's set {name!r} has no features; given are {', '.join(self.stores)}")
        if not self.classes:
            raise InvalidData(f"the ID set {id_set!r} has no classes: {self.stores[id_set].folder}")
        if fit is not None:
            self._check_fit(fit)

    @classmethod
    def open(cls, benchmark: BenchmarkParams, fingerprint: str, features: Path, images: Path | None = None) -> Sets:
        """Open the features of a benchmark's sets.

        Args:
            benchmark: names of its sets.
            fingerprint: of the backbone that has to have made them.
            features: folder with a feature store a set.
            images: as in the class.

        Raises:
            MissingInput, InvalidData, BackboneMismatch: as `FeatureStore.open` and the class.
        """
        return cls(
            benchmark, {name: FeatureStore.open(features / name, fingerprint) for name in benchmark.sets}, images
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C ID classes."""
        return self.stores[self.benchmark.id].meta.classes

    def load(self, methods: Collection[str], name: str) -> FeatureBatch:
        """Load one set with the features that the methods take."""
        kinds = {scores.REGISTRY[method].takes for method in methods}
        columns = self.stores[name].meta.schema().names
        return self.stores[name].load(
            ["image", "label", *(c for c in ("pooled", "patches") if c in kinds & {*columns})]
        )

    def lookup(self) -> dict[str, Images]:
        """Return set name → its images, to be looked up by key.

        Raises:
            MissingInput: there are only features.
        """
        if self.images is None:
            raise MissingInput("this needs the images of the sets, and only their features are given")
        return {name: Images(s, self.images / name / MANIFEST, self.images / name) for name, s in self.stores.items()}

    def _check_fit(self, fit: str) -> None:
        tested = self.benchmark.id
        if self.stores[fit].meta.classes != self.classes:
            raise InvalidData(
                f"the set {fit!r}, which stands for the ID images, has other classes than {tested!r}; "
                "both need the same class folders or names"
            )
        if shared := self._contents(fit) & self._contents(tested):
            raise InvalidData(
                f"the sets {fit!r} and {tested!r} share {len(shared)} images; scores that were fitted on them would "
                "look better than they are. Give each of them other images, as with part"
            )

    def _contents(self, name: str) -> set[str] | set[bytes]:
        """What tells the images of a set apart: the digests of their files, or without files their features."""
        if self.images is None:
            store = self.stores[name]
            return {row.tobytes() for group in store.row_groups() for row in store.read(group, ()).image}
        digests = manifest.read_table(self.images / name / MANIFEST, ["sha256"])["sha256"]
        return set(digests.drop_null().to_pylist())


@dataclass(frozen=True)
class Sources:
    """Where the evidence of a benchmark comes from.

    Attributes:
        clip: the backbone that the features come from.
        sets: of the benchmark.
        templates: name of a template set of `clipn.prompts.templates`.
        logit_scale: factor on cosine similarities; None takes the backbone's own, or the learned one.
        words: file of word features; None, or a file that is not there, leaves word lists out.
    """

    clip: Backbone
    sets: Sets
    templates: str = "openai_imagenet"
    logit_scale: float | None = None
    words: Path | None = None

    def gather(self, methods: Collection[str], model: Path | None = None) -> Evidence:
        """Gather all that these methods may need.

        Args:
            methods: names of scores; what none of them needs is not read.
            model: folder of a "No" text encoder that was trained with `clip`; None leaves "no" out.

        Raises:
            MissingInput, InvalidData, BackboneMismatch: a file is missing, damaged, or of another backbone.
        """
        needs = {need for method in methods for need in scores.REGISTRY[method].needs}
        evidence = self._texts(model, self.sets.classes, self.templates)
        if "words" in needs and self.clip.has_text and self.words is not None and self.words.is_file():
            listed = words.read(self.words, self.clip.fingerprint)
            evidence = class_features.with_words(evidence, listed, self.sets.classes)
        if "images" in needs and self.sets.benchmark.fit is not None:
            fitted = [method for method in methods if "images" in scores.REGISTRY[method].needs]
            evidence = replace(evidence, images=self.sets.load(fitted, self.sets.benchmark.fit))
        return evidence

    def gather_by_seed(self, methods: Collection[str], models: Mapping[int, Path]) -> BySeed:
        """Gather all that these methods may need, without a "No" text encoder and with that of each seed.

        Args:
            methods: names of scores; models are read only if one of them is trained.
            models: training seed → folder of the "No" text encoder.
        """
        plain = self.gather(methods)
        seeds = models if any(scores.is_trained(method) for method in methods) else ()
        return {None: plain, **self.renamed(dict.fromkeys(seeds, plain), models, self.sets.classes)}

    def renamed(
        self, evidence: BySeed, models: Mapping[int, Path], classes: Sequence[str], templates: str | None = None
    ) -> BySeed:
        """Return the same evidence with the classes by other names, or in other sentences.

        Args:
            evidence: of each seed.
            models: training seed → folder of the "No" text encoder.
            classes: C names.
            templates: name of a template set; None keeps `self.templates`.
        """
        texts = {
            seed: self._texts(None if seed is None else models[seed], classes, templates or self.templates)
            for seed in evidence
        }
        return {
            seed: replace(evidence[seed], yes=of_seed.yes, no=of_seed.no, no_logit_scale=of_seed.no_logit_scale)
            for seed, of_seed in texts.items()
        }

    def _texts(self, model: Path | None, classes: Sequence[str], templates: str) -> Evidence:
        if model is None:
            no, sentences = None, class_features.plain_sentences(templates)
        else:
            no = no_encoder.load(model, self.clip.model, self.clip.fingerprint).to(self.clip.device)
            sentences = class_features.sentences(no_encoder.read_config(model), templates)
        return class_features.class_evidence(self.clip, no, classes, sentences, self.logit_scale)
