"""AUROC on held-out images while training runs: two sets, few images, few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipn import metrics
from clipn.errors import InvalidData
from clipn.features.store import FeatureStore, unit_norm
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoTextEncoder
from clipn.prompts.class_features import Sentences, class_features, class_tokens
from clipn.scores import ATD, CTW, Evidence
from clipn.utils.sampling import evenly


class HeldOut:
    """An ID and an OOD set on which AUROC is measured during training.

    Args:
        clip: the backbone.
        classes: names of the C ID classes.
        sentences: "yes" and "no" templates for the names.
        id_features: unit-norm features of ID images [N, D].
        ood_features: unit-norm features of OOD images [M, D].
    """

    def __init__(
        self,
        clip: Backbone,
        classes: Sequence[str],
        sentences: Sentences,
        id_features: NDArray[np.float32],
        ood_features: NDArray[np.float32],
    ) -> None:
        self._clip, self._id_features, self._ood_features = clip, id_features, ood_features
        self._no_tokens = class_tokens(clip.tokenize, classes, sentences.no)
        yes_tokens = class_tokens(clip.tokenize, classes, sentences.yes)
        self._evidence = Evidence(class_features(clip.text, yes_tokens), logit_scale=clip.logit_scale)

    @classmethod
    def read(cls, clip: Backbone, id_features: Path, ood_features: Path, sentences: Sentences, images: int) -> HeldOut:
        """Read `images` rows of each of two feature stores, spread evenly over their rows.

        Raises:
            MissingInput, InvalidData, BackboneMismatch: a store is not there, damaged or of another
                backbone, or the ID set has no classes.
        """
        stores = [FeatureStore.open(folder, clip.fingerprint) for folder in (id_features, ood_features)]
        classes = stores[0].meta.classes
        if not classes:
            raise InvalidData(f"{id_features} has no classes, so it cannot be train.check.id; name another set")
        features = []
        for store in stores:
            image = store.load().image
            features.append(unit_norm(image[evenly(len(image), images)]))
        return cls(clip, classes, sentences, *features)

    def auroc(self, encoder: NoTextEncoder) -> tuple[float, float]:
        """Return the AUROC of CTW and of ATD with `encoder` as it is now; its mode and weights stay as they are."""
        was_training = encoder.training
        no = class_features(encoder.eval(), self._no_tokens)
        encoder.train(was_training)
        evidence = replace(self._evidence, no=no, no_logit_scale=encoder.logit_scale)
        ctw, atd = (
            metrics.auroc(score.score(self._id_features), score.score(self._ood_features))
            for score in (CTW().fit(evidence), ATD().fit(evidence))
        )
        return ctw, atd
