"""Token ids of captions inside paired templates (the hand-crafted variant of arXiv 2308.12213).

Every step draws another template for every caption. The tokenizer would then run in the training
loop; but CLIP's reads word by word, so the ids of a sentence are those of its parts in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipn.errors import UnsupportedModel
from clipn.prompts.templates import Pair

ABSENT = -1
PROBE = "dog"


@dataclass(frozen=True, eq=False)
class Frames:
    """What P templates have around the `{}`.

    Attributes:
        before: token ids [P, longest], ABSENT where a template has fewer.
        after: likewise.
    """

    before: Tensor
    after: Tensor


@dataclass(frozen=True, eq=False)
class PairedTokens:
    """P pairs of templates as token ids, to be put around captions that are token ids too.

    Attributes:
        yes, no: the templates of either side.
        start: ids that the tokenizer puts before every text [S]; CLIP's puts one.
        end: the id that it puts behind.
    """

    yes: Frames
    no: Frames
    start: Tensor
    end: int

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], tokenize: Callable[[Sequence[str]], Tensor], ends: Callable[[Tensor], Tensor]
    ) -> PairedTokens:
        """Run the tokenizer once on what stands around the `{}` of each template.

        Args:
            pairs: P pairs, as `clipn.prompts.templates.load_paired` gives them.
            tokenize: texts → token ids [N, context length]; `Backbone.tokenize`.
            ends: token ids [N, L] → position of the end token [N]; `TextEncoder.ends`.

        Raises:
            UnsupportedModel: the tokenizer does not read word by word.
        """
        empty = tokenize([""])
        first = int(ends(empty))

        def content(texts: Sequence[str]) -> Tensor:
            tokens = tokenize(texts)
            return _content(tokens, first, ends(tokens))

        def frames(templates: Sequence[str]) -> Frames:
            around = [template.split("{}") for template in templates]
            return Frames(content([before for before, _ in around]), content([after for _, after in around]))

        yes, no = [pair.yes for pair in pairs], [pair.no for pair in pairs]
        paired = cls(frames(yes), frames(no), empty[0, :first], int(empty[0, first]))
        probes = tokenize([PROBE]).expand(len(pairs), -1)
        joined = paired.join(probes, torch.arange(len(pairs)), probes.shape[1])
        for tokens, templates in zip(joined, (yes, no), strict=True):
            if not torch.equal(
                _content(tokens, first, ends(tokens)), content([template.format(PROBE) for template in templates])
            ):
                raise UnsupportedModel(
                    "the tokenizer of this backbone does not read word by word, so captions cannot be put into "
                    "templates as token ids; train the learnable variant (train.variant), or choose a backbone "
                    "with CLIP's own tokenizer, such as ViT-B-16"
                )
        return paired

    def __len__(self) -> int:
        return len(self.yes.before)

    def join(
        self, captions: Tensor | NDArray[np.integer], pair_index: Tensor | NDArray[np.integer], context_length: int
    ) -> tuple[Tensor, Tensor]:
        """Put each caption into both templates of a pair.

        The result is what the tokenizer makes of `template.format(caption)`, cut as it cuts: at the
        context length, the end token last. It differs where something spans the border of template and
        caption. To CLIP's tokenizer a word is a run of letters, one digit, or a run of anything else but
        spaces: a caption that ends in such other characters ("a dog.") before a template that goes on
        with them (".") gives the two words "." "." here, and the one word ".." there. Spaces at the end
        of a caption ("a dog. ") part the words there too. Text that looks like broken encoding may be
        repaired in a sentence but not alone. And where a caption holds the text `<end_of_text>`, the
        template goes on here, while there nothing after it is read.

        Args:
            captions: token ids [B, L] with start and end tokens, padded with 0; on the CPU.
            pair_index: which pair each caption takes [B].
            context_length: the most tokens of a text.

        Returns:
            token ids of the yes and of the no sentences, int64, each [B, longest of them], padded with 0.
        """
        captions, pair_index = torch.as_tensor(captions), torch.as_tensor(pair_index)
        content = _content(captions, len(self.start), (captions == self.end).int().argmax(dim=1))
        return (
            self._joined(self.yes, content, pair_index, context_length),
            self._joined(self.no, content, pair_index, context_length),
        )

    def _joined(self, frames: Frames, content: Tensor, pair_index: Tensor, context_length: int) -> Tensor:
        rows = len(content)
        start, end = self.start.expand(rows, -1), torch.full((rows, 1), self.end)
        parts = torch.cat([start, frames.before[pair_index], content, frames.after[pair_index], end], dim=1)
        absent = parts == ABSENT
        # A stable sort moves what is absent behind the rest, and leaves the order of the rest.
        joined = parts.gather(1, absent.int().argsort(dim=1, stable=True)).clamp_(min=0)
        lengths = (~absent).sum(dim=1)
        joined = joined[:, : min(int(lengths.max()), context_length)]
        joined[lengths > context_length, -1] = self.end
        return joined


def _content(tokens: Tensor, first: int, ends: Tensor) -> Tensor:
    """Return token ids from position `first` to before the end token, ABSENT elsewhere: [N, L] → [N, longest]."""
    columns = torch.arange(tokens.shape[1])
    is_content = (columns >= first) & (columns < ends[:, None])
    return tokens.where(is_content, ABSENT)[:, first : int(ends.max())]
