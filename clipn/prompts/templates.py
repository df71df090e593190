"""Sentences around a class name or a caption.

The plain sets feed the "yes" and the "No" text encoder alike: there a learned prompt says "no". In the
paired sets the sentence says it itself, and each encoder gets its own (the hand-crafted variant of
arXiv 2308.12213).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from clipn.errors import InvalidData, InvalidParams

NAMES = ("symbols", "openai_imagenet", "simple", "reference", "clipn")
PAIRED = ("symbols", "photo", "reference", "clipn")

HEADER = ("yes", "no")


@dataclass(frozen=True)
class Pair:
    """A sentence and its negation, each with one `{}`."""

    yes: str
    no: str


def load(name: str) -> tuple[str, ...]:
    """Return the templates of a set; each holds one `{}` for the class name.

    `symbols` suits the miniature world, `openai_imagenet` are the 80 templates published with CLIP,
    `simple` the seven that CLIP's authors recommend when few are wanted, `reference` the 128 of the
    released CLIPN code and `clipn` their clean form, see `load_paired`.

    Raises:
        InvalidParams: no such set.
    """
    if name not in NAMES:
        raise InvalidParams(f"unknown template set {name!r}; known: {', '.join(NAMES)}")
    if name in PAIRED:
        return tuple(pair.yes for pair in load_paired(name))
    import open_clip  # imports torch, which readers of names alone need not wait for

    functions = {
        "openai_imagenet": open_clip.OPENAI_IMAGENET_TEMPLATES,
        "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
    }[name]
    return tuple(function("{}") for function in functions)


def load_paired(name: str) -> tuple[Pair, ...]:
    """Return the pairs of a set.

    - `symbols`: the templates of the miniature world and their negations.
    - `photo`: the 80 templates published with CLIP, each with a negation of its own: "of a" becomes
      "of no", "of the" becomes "without the".
    - `reference`: the 128 pairs of the released CLIPN code, as its tokenizer gets them. That code
      strips nothing but the line break, so the quotation marks around each sentence, and a comma
      after two of them, are part of the text ("'the" is read as "'t", "he"); and while all 128 yes
      sentences differ, only 98 of the no sentences do. For results that compare with that code.
    - `clipn`: the same 128 without the quotation marks and commas.

    Raises:
        InvalidParams: no such set.
        InvalidData: its file is damaged.
    """
    if name not in PAIRED:
        raise InvalidParams(f"unknown paired template set {name!r}; known: {', '.join(PAIRED)}")
    path = f"template_sets/{name}.tsv"
    return parse_paired(resources.files(__package__).joinpath(path).read_text(encoding="utf-8"), path)


def parse_paired(text: str, source: str) -> tuple[Pair, ...]:
    """Return the pairs in a table with the columns `yes` and `no`, separated by tabs; quotation marks are text.

    Raises:
        InvalidData: a row has not two sentences with exactly one `{}` and no other brace, or there is
            none; names `source` and the line.
    """
    lines = text.splitlines()
    if len(lines) < 2 or tuple(lines[0].split("\t")) != HEADER:
        raise InvalidData(f"{source} needs a first line with the columns {' and '.join(HEADER)}, then pairs")
    pairs = []
    for number, line in enumerate(lines[1:], start=2):
        sentences = line.split("\t")
        if len(sentences) != 2 or not all(map(_takes_one, sentences)):
            raise InvalidData(f"{source}, line {number}: {line!r} is not two sentences with one {{}} each")
        pairs.append(Pair(*sentences))
    return tuple(pairs)


def _takes_one(sentence: str) -> bool:
    return sentence.count("{}") == sentence.count("{") == sentence.count("}") == 1
