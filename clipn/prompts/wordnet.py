"""Lists of words by their meaning: WordNet's nouns and adjectives, or a list of one's own.

A list is a table with tabs between the columns `kind` (`noun` or `adjective`), `word` and, where it is known,
`topic`; it may be compressed with xz. A cell of `word` holds all words of one meaning with `|` between them: the
first one stands for the meaning, the others are its synonyms.

The list of WordNet 3.0 that comes with this package has every noun and adjective once, with its first sense, which
is the most frequent one, and in lower case. Its topics are WordNet's lexicographer files (`noun.animal`). It is made
from a dictionary folder, which holds `index.noun`, `data.noun`, `index.adj` and `data.adj`, with
`python -m clipn.prompts.wordnet FOLDER`.
"""

from __future__ import annotations

import argparse
import lzma
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from clipn.errors import ClipnError, InvalidData, MissingInput
from clipn.utils.files import atomic_path

KINDS = ("noun", "adjective")
WORDNET = "word_lists/wordnet.tsv.xz"
"""Where WordNet lies in this package."""

MAX_BYTES = 64 * 2**20
"""Larger lists are refused, also when they are small before decompression."""
_MAX_MEMORY = 128 * 2**20
_XZ = b"\xfd7zXZ\x00"
# Explicit, so that the bytes do not change with the defaults of another release.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**22}]

_FILES = {"noun": "noun", "adjective": "adj"}
_TOPICS = {
    0: "adj.all",
    1: "adj.pert",
    **dict(
        enumerate(
            [
                "noun.Tops",
                "noun.act",
                "noun.animal",
                "noun.artifact",
                "noun.attribute",
                "noun.body",
                "noun.cognition",
                "noun.communication",
                "noun.event",
                "noun.feeling",
                "noun.food",
                "noun.group",
                "noun.location",
                "noun.motive",
                "noun.object",
                "noun.person",
                "noun.phenomenon",
                "noun.plant",
                "noun.possession",
                "noun.process",
                "noun.quantity",
                "noun.relation",
                "noun.shape",
                "noun.state",
                "noun.substance",
                "noun.time",
            ],
            start=3,
        )
    ),
    44: "adj.ppl",
}
"""Number of a lexicographer file → its name (WordNet's manual, lexnames(5)); verbs and adverbs are left out."""
_POSITION = re.compile(r"\((p|a|ip)\)$")
"""Says where an adjective may stand: `galore(ip)`."""


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
        """All nouns."""
        return tuple(word for meaning in self.meanings if meaning.kind == "noun" for word in meaning.words)

    @property
    def adjectives(self) -> tuple[str, ...]:
        """All adjectives."""
        return tuple(word for meaning in self.meanings if meaning.kind == "adjective" for word in meaning.words)

    def synonyms(self, name: str) -> tuple[str, ...]:
        """Other nouns that share the first sense of `name`, the usual ones first; none if it is unknown.

        Words of which this is a rarer sense are left out: WordNet lists "machine" under "car", but whoever
        says it means something else.

        Args:
            name: a class name in the singular; case does not matter, and underscores count as spaces.
        """
        key = _plain(name).lower()
        words = self._by_noun.get(key, ())
        return tuple(word for word in words if word.lower() != key)

    @cached_property
    def _by_noun(self) -> dict[str, tuple[str, ...]]:
        nouns = [meaning for meaning in self.meanings if meaning.kind == "noun"]
        return {word.lower(): meaning.words for meaning in reversed(nouns) for word in meaning.words}


@cache
def load() -> Lexicon:
    """WordNet, as it comes with this package."""
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
    """A list from the content of a file; `source` is its name in messages.

    Raises:
        InvalidData: it is damaged, too large or empty, or a line is not as this module's description says.
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
    words = tuple(_plain(word) for word in row["word"].split("|"))
    if row["kind"] not in KINDS or not all(words):
        raise InvalidData(f"{place}: expected is a kind, {' or '.join(KINDS)}, and a word, not {line[:80]!r}")
    return Meaning(row["kind"], words, row.get("topic", ""))


def _plain(word: str) -> str:
    return " ".join(word.replace("_", " ").split())


def _decompress(data: bytes, source: str) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
    try:
        text = decompressor.decompress(data, MAX_BYTES)
    except lzma.LZMAError as error:
        raise InvalidData(f"{source} is damaged: {error}") from error
    if not decompressor.eof:
        raise InvalidData(f"{source} is cut off, or holds more than {MAX_BYTES} bytes")
    return text


def make(folder: str | Path, out: str | Path) -> Lexicon:
    """Make the list of WordNet from a dictionary folder of release 3.0; the same folder gives the same bytes.

    Words of one character are left out, since a letter says nothing of an image. Meanings that no word has as
    its first sense are not in the list.

    Raises:
        MissingInput: a file of the dictionary is not there.
        InvalidData: a file is not one of a WordNet dictionary.
    """
    meanings = sorted((m for kind in KINDS for m in _from_dictionary(Path(folder), kind)), key=_row)
    text = "\n".join(["kind\ttopic\tword", *map(_row, meanings)]) + "\n"
    with atomic_path(out) as temporary:
        temporary.write_bytes(lzma.compress(text.encode("ascii"), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=_FILTERS))
    return Lexicon(tuple(meanings))


def _row(meaning: Meaning) -> str:
    return f"{meaning.kind}\t{meaning.topic}\t{'|'.join(meaning.words)}"


def _from_dictionary(folder: Path, kind: str) -> Iterator[Meaning]:
    """Meanings with the words whose first sense they are, in WordNet's order (its manual, wndb(5))."""
    data, index = (folder / f"{part}.{_FILES[kind]}" for part in ("data", "index"))
    synsets: dict[str, tuple[str, list[str]]] = {}
    for fields in _records(data):
        try:
            words = [_lemma(word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            synsets[fields[0]] = (_TOPICS[int(fields[1])], words)
        except (IndexError, KeyError, ValueError) as error:
            raise InvalidData(f"{data} is no file of a WordNet dictionary: {' '.join(fields)[:80]!r}") from error
    by_first_sense: defaultdict[str, list[str]] = defaultdict(list)
    for fields in _records(index):
        try:
            # lemma, kind, senses, p, p pointer symbols, senses, tagged senses, then the synsets from frequent to rare
            first = fields[6 + int(fields[3])]
            place = synsets[first][1].index(_lemma(fields[0]))
        except (IndexError, KeyError, ValueError) as error:
            raise InvalidData(f"{index} does not fit to {data.name}: {' '.join(fields)[:80]!r}") from error
        if len(fields[0]) > 1:
            by_first_sense[first].append(synsets[first][1][place])
    for first, members in by_first_sense.items():
        topic, words = synsets[first]
        yield Meaning(kind, tuple(sorted(members, key=words.index)), topic)


def _records(path: Path) -> Iterator[list[str]]:
    """Fields of each line behind the licence, whose lines are indented."""
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; name the folder of a WordNet 3.0 dictionary")
    with path.open(encoding="ascii", errors="replace") as lines:
        yield from (line.split() for line in lines if not line.startswith("  "))


def _lemma(word: str) -> str:
    return _POSITION.sub("", word).replace("_", " ").lower()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m clipn.prompts.wordnet", description="Make the list of WordNet's words."
    )
    parser.add_argument("folder", help="dictionary folder of WordNet 3.0, with index.noun and so on")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / WORDNET, help="the file to write")
    options = parser.parse_args()
    try:
        lexicon = make(options.folder, options.out)
    except ClipnError as error:
        sys.exit(f"error: {error}")
    counts = f"{len(lexicon.nouns)} nouns and {len(lexicon.adjectives)} adjectives of {len(lexicon.meanings)} meanings"
    print(f"{options.out}: {counts}, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
