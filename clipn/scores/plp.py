"""Pseudo-label probing."""

from __future__ import annotations

from typing import ClassVar, Self

from clipn.scores.base import Evidence
from clipn.scores.probe import ProbeMSP

BLOCK = 8192
"""Images whose cosines with all classes are in memory at a time."""


class PLP(ProbeMSP):
    """Pseudo-label probing (later version of arXiv 2303.05828): the probe without labels.

    The probe is trained on the zero-shot classes of the ID images, ŷ_i = argmax_j cos(x_i, yes_j), and
    scored by its maximum softmax probability. Classes that no image gets are learned to be unlikely. The study
    averages five prompts for the pseudo-labels; here the texts are those of all zero-shot scores.
    """

    name: ClassVar[str] = "PLP"
    needs: ClassVar[frozenset[str]] = frozenset({"images", "yes"})

    def fit(self, evidence: Evidence) -> Self:
        import torch

        from clipn.scores import linear_probe

        assert evidence.yes is not None  # `needs` says so, and `scores.fit` checks it
        yes = torch.from_numpy(evidence.yes).to(evidence.device)
        blocks = torch.from_numpy(evidence.fit_features("image")).split(BLOCK)
        pseudo = torch.cat([(block.to(yes.device) @ yes.T).argmax(dim=1) for block in blocks]).cpu().numpy()
        features = evidence.fit_features(self.takes)
        self.probe = linear_probe.train(features, pseudo, len(evidence.yes), device=evidence.device)
        return self
