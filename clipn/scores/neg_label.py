"""Negative labels: whether an image shows a class rather than one of many words far from all classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from clipn.errors import InvalidParams
from clipn.scores.base import Evidence, Kind
from clipn.scores.word_features import WordFeatures
from clipn.utils.arrays import Array

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 0.15
QUANTILE = 0.95
GROUPS = 100
COSINES = 2**23
"""Numbers in a block of a matrix of cosines: 32 MB."""


def negatives(
    yes: Array,
    words: WordFeatures,
    *,
    share: float = SHARE,
    quantile: float = QUANTILE,
    too_near: float | None = None,
    device: str = "cpu",
) -> WordFeatures:
    """Return the words that are farthest from all classes (NegMining, arXiv 2403.20078, section 3.1).

    A word is as near as the `quantile` of its cosines to the class names, so that a few classes that happen to be
    near do not decide. Of each kind of words, the `share` that is farthest is kept; the released code also takes
    nouns and adjectives apart.

    Args:
        yes: unit-norm text features of the C classes [C, D].
        words: those to choose from.
        share: of the words of a kind, at least one.
        quantile: over the classes, linearly interpolated.
        too_near: words whose largest cosine to a class exceeds it come last, whatever their quantile (CSP, arXiv
            2410.08611), so they are only kept where the others do not fill the share. None makes no difference.
        device: where the cosines are computed.

    Returns:
        the words kept, by kind and then from far to near.
    """
    nearness, largest = _nearness(yes, words, quantile, device)
    last = largest > (np.inf if too_near is None else too_near)
    kinds = np.array(words.kinds)
    chosen = []
    for kind in dict.fromkeys(words.kinds):
        rows = np.flatnonzero(kinds == kind)
        ranking = rows[np.lexsort((nearness[rows], last[rows]))]
        chosen.append(ranking[: max(1, int(share * len(rows)))])
    return words.take(np.concatenate(chosen) if chosen else np.empty(0, np.intp))


def _nearness(yes: Array, words: WordFeatures, quantile: float, device: str) -> tuple[Array, Array]:
    """Return quantile and maximum over classes of the cosines of each word, [W] each."""
    import torch

    classes = torch.from_numpy(yes).to(device)
    nearness, largest = np.empty(len(words), np.float32), np.empty(len(words), np.float32)
    step = max(1, COSINES // len(yes))
    for start in range(0, len(words), step):
        rows = slice(start, start + step)
        cosines = torch.from_numpy(words.features[rows]).to(device) @ classes.T
        nearness[rows] = cosines.quantile(quantile, dim=1).cpu().numpy()
        largest[rows] = cosines.amax(dim=1).cpu().numpy()
    return nearness, largest


class NegLabel:
    """Negative labels (Jiang et al., arXiv 2403.20078): the share of the classes among classes and far words.

    s(x) = mean over groups G of Σ_j exp(z_j) / (Σ_j exp(z_j) + Σ_{w in G} exp(z_w)), z = scale · cos(x, text)

    The words kept are dealt at random to groups of equal size; those that are left over, the nearest of the last
    kind, are dropped, as in the released code. With fewer words than groups each word is a group of its own. The
    paper's scale is 100, the one that CLIP learned; here it is the scale of the evidence, so that a backbone with
    another one keeps it.

    The words that come with the released code lack animals and food, whatever the classes are; they are left out
    here too. A word that is the name of a class is kept if it is far from most others, which that code does not
    prevent: take it out of the evidence with `WordFeatures.without`.

    Attributes:
        words: the words kept, by kind and then from far to near.
        groups: their features, [groups, words of each, D].
    """

    name: ClassVar[str] = "NegLabel"
    needs: ClassVar[frozenset[str]] = frozenset({"yes", "words"})
    takes: ClassVar[Kind] = "image"
    kinds: ClassVar[tuple[str, ...]] = ("noun", "adjective")
    left_out: ClassVar[frozenset[str]] = frozenset({"noun.animal", "noun.food"})
    too_near: ClassVar[float | None] = None

    def __init__(self, groups: int = GROUPS, seed: int = 0, logit_scale: float | None = None) -> None:
        """
        Args:
            groups: how many.
            seed: decides which word goes where.
            logit_scale: factor on cosine similarities; None takes that of the evidence.
        """
        self._groups, self._seed, self._given_scale = groups, seed, logit_scale

    def fit(self, evidence: Evidence) -> Self:
        import torch

        assert evidence.yes is not None  # `needs` says so, and `scores.fit` checks it
        assert evidence.words is not None
        pool = evidence.words.of_kinds(*self.kinds).without_topics(self.left_out)
        self.words = negatives(evidence.yes, pool, too_near=self.too_near, device=evidence.device)
        if not len(self.words):
            raise InvalidParams(
                f"{self.name}: none of the {len(evidence.words)} entries of the word list can be taken; it needs "
                f"{' or '.join(self.kinds)} entries of other topics than {', '.join(sorted(self.left_out))}: "
                "name another list in words.path"
            )
        self.logit_scale = evidence.logit_scale if self._given_scale is None else self._given_scale
        self.yes = torch.from_numpy(evidence.yes).to(evidence.device)
        self.groups = torch.from_numpy(self._dealt(self.words.features)).to(evidence.device)
        return self

    def _dealt(self, features: Array) -> Array:
        groups = min(self._groups, len(features))
        size = len(features) // groups
        order = np.random.default_rng(self._seed).permutation(groups * size)
        return features[order].reshape(groups, size, -1)

    def score(self, images: Array) -> Array:
        import torch

        step = max(1, COSINES // (self.groups.shape[0] * self.groups.shape[1] + len(self.yes)))
        return torch.cat([self._score(part) for part in torch.from_numpy(images).split(step)]).cpu().numpy()

    def _score(self, images: Tensor) -> Tensor:
        scaled = self.logit_scale * images.to(self.yes.device)
        near = (scaled @ self.yes.T).logsumexp(dim=1, keepdim=True)
        # The share is a logistic function of a difference of logarithms, in which nothing overflows.
        far = (scaled @ self.groups.flatten(0, 1).T).unflatten(1, self.groups.shape[:2]).logsumexp(dim=2)
        return (near - far).sigmoid().mean(dim=1)
