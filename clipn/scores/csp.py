"""Negative labels from a conjugated semantic pool."""

from __future__ import annotations

from typing import ClassVar

from clipn.scores.neg_label import NegLabel

TOO_NEAR = 0.95


class CSP(NegLabel):
    """Conjugated semantic pool (Chen et al., arXiv 2410.08611): NegLabel with phrases instead of adjectives.

    An adjective alone describes no image; with a noun that fits all of them, such as "creature" or "scene", it
    names a whole class of what may be seen. Words nearer to a class than a cosine of .95 come last. The released
    code also leaves out people, quantities, groups and adjectives made from nouns.
    """

    name: ClassVar[str] = "CSP"
    kinds: ClassVar[tuple[str, ...]] = ("noun", "phrase")
    left_out: ClassVar[frozenset[str]] = NegLabel.left_out | {"noun.person", "noun.quantity", "noun.group", "adj.pert"}
    too_near: ClassVar[float | None] = TOO_NEAR
