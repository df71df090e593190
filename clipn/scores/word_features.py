"""Text features of a word list: what an image may show besides the ID classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipn.utils.arrays import Array


@dataclass(frozen=True, eq=False)
class WordFeatures:
    """Unit-norm text features of W entries of a word list.

    Attributes:
        entries: word or phrase of each.
        kinds: of each, `noun`, `adjective`, or `phrase`: an adjective with one of CSP's superclass nouns.
        topics: WordNet's lexicographer file of each, such as `noun.animal`; of a phrase, that of its adjective.
            Empty where the list has none.
        features: [W, D].
    """

    entries: tuple[str, ...]
    kinds: tuple[str, ...]
    topics: tuple[str, ...]
    features: Array

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, rows: NDArray[np.intp]) -> WordFeatures:
        """Return the entries of these rows, in the order given."""

        def taken(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[row] for row in rows.tolist())

        return WordFeatures(taken(self.entries), taken(self.kinds), taken(self.topics), self.features[rows])

    def of_kinds(self, *kinds: str) -> WordFeatures:
        """Return the entries of these kinds, in their order."""
        return self.take(np.flatnonzero([kind in kinds for kind in self.kinds]))

    def without_topics(self, topics: Collection[str]) -> WordFeatures:
        """Return the entries of other topics, in their order."""
        return self.take(np.flatnonzero([topic not in topics for topic in self.topics]))

    def without(self, names: Collection[str]) -> WordFeatures:
        """Return the entries that are none of these names; neither case nor underscores make a difference."""
        excluded = {plain(name).lower() for name in names}
        return self.take(np.flatnonzero([plain(entry).lower() not in excluded for entry in self.entries]))


def plain(word: str) -> str:
    """Return a word or phrase with one space where underscores or any white space were."""
    return " ".join(word.replace("_", " ").split())
