"""The trained detector on a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from clipn import scores
from clipn.errors import InvalidData, InvalidParams
from clipn.features import select
from clipn.features.encode import encode_images
from clipn.features.rows import FeatureBatch
from clipn.models import backbone as backbones
from clipn.models import no_encoder
from clipn.models.backbone import Backbone
from clipn.prompts.class_features import class_evidence, sentences
from clipn.scores import DecidesAlone, Evidence, Score
from clipn.scores.word_features import WordFeatures

BATCH = 64


@dataclass(frozen=True)
class Detection:
    """What the detector says of one image.

    Attributes:
        label: the most probable of the given classes.
        probability: of that class among the given ones, 0..1.
        score: higher = more in-distribution.
        accepted: False where the image belongs to none of the classes.
    """

    label: str
    probability: float
    score: float
    accepted: bool


class Detector:
    """Classifies images among given classes, and says which belong to none of them.

    Args:
        backbone: the frozen CLIP.
        score: a fitted score of `clipn.scores`.
        evidence: text features of the classes.
        classes: their names.
        threshold: accept from this score on; None leaves the decision to a score that can decide
            alone (CLIPN's two).

    Raises:
        InvalidParams: the evidence has no text features, as that of a bare image tower.
    """

    def __init__(
        self,
        backbone: Backbone,
        score: Score,
        evidence: Evidence,
        classes: Sequence[str],
        threshold: float | None = None,
    ) -> None:
        if evidence.yes is None:
            raise InvalidParams("the backbone has no text tower, so it knows nothing of class names; take a CLIP")
        self.backbone, self.evidence, self.classes, self.threshold = backbone, evidence, tuple(classes), threshold
        self._score, self._yes = score, evidence.yes

    @classmethod
    def load(
        cls,
        model: str | Path,
        backbone: str | Path,
        classes: Sequence[str],
        *,
        score: str = "CLIPN-ATD",
        template_set: str = "openai_imagenet",
        logit_scale: float | None = None,
        words: WordFeatures | None = None,
        known: FeatureBatch | None = None,
        device: str = "cpu",
    ) -> Detector:
        """Load a trained model for a set of classes.

        Args:
            model: folder of a trained no encoder, such as `models/clipn/seed-0`.
            backbone: folder of the CLIP that it was trained with, such as `data/backbone`.
            classes: names of the known classes; they need not have been seen in training.
            score: name of a score in `clipn.scores.REGISTRY`.
            template_set: name of a set in `clipn.prompts.templates`, for models with learned prompts; one of
                the hand-crafted variant is asked with the pairs that it was trained with.
            logit_scale: factor on cosine similarities; None takes the one that was trained with the
                model, and the backbone's own where none was.
            words: features of a word list, for scores that need one; `clipn.prompts.words.read` gives them.
            known: features of in-distribution images, for scores that need some; those of a feature store
                whose classes, if the score needs labels, are `classes` in this order.
            device: where the towers run.

        Raises:
            MissingInput, InvalidData: a folder is not there or damaged.
            BackboneMismatch: model and backbone do not belong together.
            InvalidParams: no classes, an unknown score or template set, or a score that needs more than is given.
        """
        if not classes:
            raise InvalidParams("the detector needs at least one class name")
        asked = sentences(no_encoder.read_config(model), template_set)
        clip = backbones.load(backbone, device)
        no = no_encoder.load(model, clip.model, clip.fingerprint).to(clip.device)
        evidence = replace(class_evidence(clip, no, classes, asked, logit_scale), words=words, images=known)
        return cls(clip, scores.fit(score, evidence), evidence, classes)

    def features(self, images: Sequence[Image.Image]) -> FeatureBatch:
        """What the towers see in N images, as a feature store of an evaluation set holds it."""
        parts = []
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([self.backbone.preprocess(image) for image in images[start : start + BATCH]])
            parts.append(encode_images(self.backbone, pixels, patches=self._score.takes == "patches"))
        return select.join(parts)

    def __call__(self, images: Sequence[Image.Image]) -> list[Detection]:
        """Judge images.

        Raises:
            InvalidParams: no threshold is set, and the score cannot decide without one.
        """
        if not images:
            return []
        batch = self.features(images)
        features = self._features(batch)
        values = self._score.score(features)
        if self.threshold is not None:
            accepted = values >= self.threshold
        elif isinstance(self._score, DecidesAlone):
            accepted = self._score.keeps(features)
        else:
            raise InvalidParams(
                f"{self._score.name} has no decision of its own; calibrate it on in-distribution images "
                "(Detector.calibrate, or clipn detect --calibrate FOLDER)"
            )
        probabilities = softmax(self.evidence.logit_scale * batch.image @ self._yes.T, axis=1)
        winners = probabilities.argmax(axis=1)
        return [
            Detection(self.classes[winner], float(row[winner]), float(value), bool(keep))
            for winner, row, value, keep in zip(winners, probabilities, values, accepted, strict=True)
        ]

    def calibrate(self, images: Sequence[Image.Image] | FeatureBatch, tpr: float = 0.95) -> float:
        """Set the threshold so that a share `tpr` of in-distribution images is accepted.

        Args:
            images: N images, or their features as a feature store holds them. For a score that was given
                in-distribution images (`known`), others than these.
            tpr: the share to accept, above 0 and at most 1.

        Returns:
            the threshold.

        Raises:
            InvalidData: no images, or features without those that the score takes.
            InvalidParams: `tpr` is no such share.
        """
        if not 0 < tpr <= 1:
            raise InvalidParams(f"tpr is {tpr}; it is a share of images, above 0 and at most 1")
        if not len(images):
            raise InvalidData("calibration needs at least one in-distribution image")
        batch = images if isinstance(images, FeatureBatch) else self.features(images)
        self.threshold = float(np.quantile(self._score.score(self._features(batch)), 1 - tpr, method="lower"))
        return self.threshold

    def _features(self, batch: FeatureBatch) -> NDArray[np.float32]:
        if not scores.has_features(batch, self._score.takes):
            raise InvalidData(f"{self._score.name} needs {scores.FEATURES[self._score.takes]}")
        return scores.features_of(batch, self._score.takes)
