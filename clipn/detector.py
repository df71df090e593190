"""The trained detector on a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import softmax

from clipn import scores
from clipn.errors import InvalidData, InvalidParams
from clipn.features import select
from clipn.features.crops import cropper
from clipn.features.encode import encode_images
from clipn.features.rows import FeatureBatch
from clipn.models import backbone as backbones
from clipn.models import no_encoder
from clipn.models.backbone import Backbone
from clipn.prompts.class_features import class_evidence, sentences, with_words
from clipn.scores import Evidence, Score
from clipn.scores.panel import Method, Panel, Scored
from clipn.scores.word_features import WordFeatures
from clipn.utils import devices

BATCH_SIZE = 64
"""Images that the tower takes at once, if nothing else is said."""


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
    """Classify images among given classes, and say which belong to none of them.

    Args:
        backbone: the frozen CLIP.
        score: a fitted score of `clipn.scores`.
        evidence: of the ID classes.
        classes: their C names.
        threshold: accept images from this score on; None leaves the decision to a score that can decide
            alone (CLIPN's two).
        batch_size: images that the tower takes at once.

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
        batch_size: int = BATCH_SIZE,
    ) -> None:
        if evidence.yes is None:
            raise InvalidParams("the backbone has no text tower, so it knows nothing of class names; take a CLIP")
        self.backbone, self.evidence, self.classes, self.threshold = backbone, evidence, tuple(classes), threshold
        self._score, self._yes, self._batch_size = score, evidence.yes, batch_size
        self._panel = Panel({score.name: Method(score.name, (score,))})

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
        id_features: FeatureBatch | None = None,
        device: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Detector:
        """Load a trained model for a set of classes.

        Args:
            model: folder of a trained "No" text encoder, such as `models/clipn/seed-0`.
            backbone: folder of the CLIP that it was trained with, such as `data/backbone`.
            classes: names of the ID classes; they need not have been seen in training.
            score: name of a score in `clipn.scores.REGISTRY`.
            template_set: name of a set in `clipn.prompts.templates`, for models with learned prompts. A model of
                the hand-crafted variant takes the pairs that it was trained with.
            logit_scale: factor on cosine similarities; None takes the one that was trained with the
                model, and the backbone's own where none was.
            words: features of a word list, for scores that need one; `clipn.prompts.words.read` reads them. Entries
                that name a class are left out, as in the evaluation.
            id_features: features of ID images, for scores that need some; those of a feature store whose classes,
                if the score needs labels, are `classes` in this order.
            device: where the towers and the scores compute; None takes `cuda` where there is one, else `cpu`.
            batch_size: images that the tower takes at once.

        Raises:
            MissingInput, InvalidData: a folder is not there or damaged.
            BackboneMismatch: model and backbone do not belong together.
            InvalidData: the labels of the ID images are those of other classes.
            InvalidParams: no classes, an unknown score or template set, or a score that needs more than is given.
        """
        if isinstance(classes, str):
            raise InvalidParams(f"the classes are {classes!r}; give a list of names, also for a single one")
        if not classes:
            raise InvalidParams("the detector needs at least one class name")
        templates = sentences(no_encoder.read_config(model), template_set)
        clip = backbones.load(backbone, devices.choose(device))
        no = no_encoder.load(model, clip.model, clip.fingerprint).to(clip.device)
        evidence = replace(class_evidence(clip, no, classes, templates, logit_scale), images=id_features)
        if words is not None:
            evidence = with_words(evidence, words, classes)
        return cls(clip, scores.fit(score, evidence), evidence, classes, batch_size=batch_size)

    def features(self, images: Sequence[Image.Image]) -> FeatureBatch:
        """Encode N images, as a feature store of an evaluation set holds them.

        Raises:
            OutOfMemory: a batch does not fit into the device's memory.
        """
        crop, parts, size = cropper(self.backbone), [], self._batch_size
        with devices.memory_errors(f"lower the batch size (clipn detect --batch-size), which is {size}"):
            for start in range(0, len(images), size):
                crops = np.stack([crop(image) for image in images[start : start + size]])
                parts.append(encode_images(self.backbone, crops, patches=self._score.takes == "patches"))
        return select.join(parts)

    def __call__(self, images: Sequence[Image.Image]) -> list[Detection]:
        """Judge images.

        Raises:
            InvalidParams: no threshold is set, and the score cannot decide without one.
            NonFinite: a score is NaN or infinite.
        """
        if not images:
            return []
        batch = self.features(images)
        judged = self._judge(batch)
        if self.threshold is not None:
            accepted = judged.values >= self.threshold
        elif judged.keeps is not None:
            accepted = judged.keeps
        else:
            raise InvalidParams(
                f"{self._score.name} has no decision of its own; calibrate it on in-distribution images "
                "(Detector.calibrate, or clipn detect --calibrate FOLDER)"
            )
        probabilities = softmax(self.evidence.logit_scale * batch.image @ self._yes.T, axis=1)
        winners = probabilities.argmax(axis=1)
        return [
            Detection(self.classes[winner], float(row[winner]), float(value), bool(keep))
            for winner, row, value, keep in zip(winners, probabilities, judged.values, accepted, strict=True)
        ]

    def calibrate(self, images: Sequence[Image.Image] | FeatureBatch, tpr: float = 0.95) -> float:
        """Set the threshold so that a share `tpr` of in-distribution images is accepted.

        Args:
            images: N images, or their features as a feature store holds them. For a score that was given
                in-distribution images (`id_features`), others than these.
            tpr: the share to accept (true positive rate), above 0 and at most 1.

        Returns:
            the threshold.

        Raises:
            InvalidData: no images, or features without those that the score takes.
            InvalidParams: `tpr` is no such share.
            NonFinite: a score is NaN or infinite.
        """
        if not 0 < tpr <= 1:
            raise InvalidParams(f"tpr is {tpr}; it is a share of images, above 0 and at most 1")
        if not len(images):
            raise InvalidData("calibration needs at least one in-distribution image")
        batch = images if isinstance(images, FeatureBatch) else self.features(images)
        self.threshold = float(np.quantile(self._judge(batch).values, 1 - tpr, method="lower"))
        return self.threshold

    def _judge(self, batch: FeatureBatch) -> Scored:
        if not scores.has_features(batch, self._score.takes):
            raise InvalidData(f"{self._score.name} needs {scores.FEATURES[self._score.takes]}")
        return self._panel.judge([batch])[self._score.name][0]
