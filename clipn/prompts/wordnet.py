"""Lists of words by their meaning: WordNet's nouns and adjectives, or a list of one's own.

A list is a table with tabs between the columns `kind` (`noun` or `adjective`), `word` and, where it is known,
`topic`; it may be compressed with xz. A cell of `word` holds all words of one meaning with `|` between them: the
first one stands for the meaning, the others are its synonyms.

The list of WordNet 3.0 that comes with this package has every noun and adjective once, with its first sense, which
is the most frequent one, and in lower case. Its topics are WordNet's lexicographer files (`noun.animal`).
`tools/make_wordnet.py` makes it from a dictionary folder.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from clipn.errors import InvalidData, MissingInput
from clipn.scores.word_features import plain

KINDS = ("noun", "adjective")
WORDNET = "word_lists/wordnet.tsv.xz"
"""Where WordNet lies in this package."""

MAX_BYTES = 64 * 2**20
"""Larger lists are refused, also when they are small before decompression."""
_MAX_MEMORY = 128 * 2**20
_XZ = b"\xfd7zXZ\x00"


@dataclass(frozen=True)
class Meaning:
    """Words that mean the same.

    Attributes:
        kind: `noun` or `adjective`.
        words: the first one stands for the meaning.
        topic: WordNet's lexicographer file; empty where the list has none.
    """

    kind: str
    words: tuple[str, ...]
    topic: str = ""


@dataclass(frozen=True)
class Lexicon:
    """A list of words."""

    meanings: tuple[Meaning, ...]

    @property
    def nouns(self) -> tuple[str, ...]:
        """Return all nouns."""
        return tuple(word for meaning in self.meanings if meaning.kind == "noun" for word in meaning.words)

    @property
    def adjectives(self) -> tuple[str, ...]:
        """Return all adjectives."""
        return tuple(word for meaning in self.meanings if meaning.kind == "adjective" for word in meaning.words)

    def synonyms(self, name: str) -> tuple[str, ...]:
        """Return other nouns that share the first sense of `name`, the usual ones first; none if the list lacks it.

        Words of which this is a rarer sense are left out: WordNet lists "machine" under "car", but the word mostly
        means something else.

        Args:
            name: a class name in the singular; case does not matter, and underscores count as spaces.
        """
        key = plain(name).lower()
        words = self._by_noun.get(key, ())
        return tuple(word for word in words if word.lower() != key)

    @cached_property
    def _by_noun(self) -> dict[str, tuple[str, ...]]:
        nouns = [meaning for meaning in self.meanings if meaning.kind == "noun"]
        return {word.lower(): meaning.words for meaning in reversed(nouns) for word in meaning.words}


@cache
def load() -> Lexicon:
    """Return WordNet, as it comes with this package."""
    return parse(resources.files(__package__).joinpath(WORDNET).read_bytes(), WORDNET)


def read(path: str | Path) -> Lexicon:
    """Read a list.

    Raises:
        MissingInput: there is no such file.
        InvalidData: as `parse`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; words.path has to name a TSV with the columns kind and word")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidData(f"{path} has more than {MAX_BYTES} bytes; no list of words is that long")
    return parse(path.read_bytes(), str(path))


def parse(data: bytes, source: str) -> Lexicon:
    """Return the list in the content of a file; `source` is its name in messages.

    Raises:
        InvalidData: it is damaged, too large or empty, or a line is not as the description of this module has it.
    """
    try:
        lines = (_decompress(data, source) if data.startswith(_XZ) else data).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidData(f"{source} is not UTF-8 text: {error}") from error
    header = lines[0].split("\t") if lines else []
    if not {"kind", "word"} <= set(header):
        raise InvalidData(f"{source}: the first line has to name the columns kind and word, with a tab between them")
    meanings = tuple(_meaning(header, line, f"{source}, line {n}") for n, line in enumerate(lines[1:], 2) if line)
    if not meanings:
        raise InvalidData(f"{source} has no words")
    return Lexicon(meanings)


def _meaning(header: list[str], line: str, place: str) -> Meaning:
    cells = line.split("\t")
    if len(cells) != len(header):
        raise InvalidData(f"{place}: there are {len(cells)} cells for {len(header)} columns")
    row = dict(zip(header, cells, strict=True))
    words = tuple(plain(word) for word in row["word"].split("|"))
    if row["kind"] not in KINDS or not all(words):
        raise InvalidData(f"{place}: expected is a kind, {' or '.join(KINDS)}, and a word, not {line[:80]!r}")
    return Meaning(row["kind"], words, row.get("topic", ""))


def _decompress(data: bytes, source: str) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
    try:
        text = decompressor.decompress(data, MAX_BYTES)
    except lzma.LZMAError as error:
        raise InvalidData(f"{source} is damaged: {error}") from error
    if not decompressor.eof:
        raise InvalidData(f"{source} is cut off, or holds more than {MAX_BYTES} bytes")
    return text
