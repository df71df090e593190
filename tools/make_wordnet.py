"""Make the list of WordNet's nouns and adjectives that comes with `clipn.prompts`.

    python -m tools.make_wordnet FOLDER [--out FILE]

FOLDER is that of a WordNet 3.0 dictionary, with `index.noun`, `data.noun`, `index.adj` and `data.adj`.
`clipn/prompts/wordnet.py` describes the list.
"""

from __future__ import annotations

import argparse
import lzma
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from clipn.errors import ClipnError, InvalidData, MissingInput
from clipn.prompts import wordnet
from clipn.prompts.wordnet import KINDS, WORDNET, Lexicon, Meaning
from clipn.utils.files import atomic_path

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


def make(folder: str | Path, out: str | Path) -> Lexicon:
    """Write the list of WordNet made from a dictionary folder of release 3.0; the same folder gives the same bytes.

    Words of one character are left out, since a letter describes no image. Meanings that no word has as
    its first sense are not in the list.

    Args:
        folder: holds `index.noun`, `data.noun`, `index.adj` and `data.adj`.
        out: the file to write; it appears whole or not at all.

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
    """Yield meanings with the words whose first sense they are, in WordNet's order (its manual, wndb(5))."""
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
    """Yield the fields of each line behind the licence, whose lines are indented."""
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; name the folder of a WordNet 3.0 dictionary")
    with path.open(encoding="ascii", errors="replace") as lines:
        yield from (line.split() for line in lines if not line.startswith("  "))


def _lemma(word: str) -> str:
    return _POSITION.sub("", word).replace("_", " ").lower()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.make_wordnet", description="Make the list of WordNet's words."
    )
    parser.add_argument("folder", help="dictionary folder of WordNet 3.0, with index.noun and so on")
    parser.add_argument("--out", type=Path, default=Path(wordnet.__file__).parent / WORDNET, help="the file to write")
    options = parser.parse_args()
    try:
        lexicon = make(options.folder, options.out)
    except ClipnError as error:
        sys.exit(f"error: {error}")
    counts = f"{len(lexicon.nouns)} nouns and {len(lexicon.adjectives)} adjectives of {len(lexicon.meanings)} meanings"
    print(f"{options.out}: {counts}, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
