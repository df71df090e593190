"""Word lists that tests of negative labels share, with two classes at 0 and 90 degrees."""

from __future__ import annotations

import numpy as np

from clipn.scores.word_features import WordFeatures
from tests.training_data import unit

YES = np.eye(2, dtype=np.float32)


def words(*entries: tuple[str, float], kind: str = "noun", topic: str = "") -> WordFeatures:
    """Words of one kind at angles in degrees; the two classes of `YES` are at 0 and 90."""
    angles = np.radians([angle for _, angle in entries])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    count = len(entries)
    return WordFeatures(tuple(name for name, _ in entries), (kind,) * count, (topic,) * count, features)


def joined(*parts: WordFeatures) -> WordFeatures:
    return WordFeatures(
        *(tuple(value for part in parts for value in getattr(part, name)) for name in ("entries", "kinds", "topics")),
        np.concatenate([part.features for part in parts]),
    )


def random_words(rng: np.random.Generator, nouns: int, adjectives: int, dim: int) -> WordFeatures:
    count = nouns + adjectives
    kinds = ("noun",) * nouns + ("adjective",) * adjectives
    return WordFeatures(tuple(f"w{i}" for i in range(count)), kinds, ("",) * count, unit(rng, count, dim))
