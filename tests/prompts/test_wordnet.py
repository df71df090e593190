"""Lists of words, and the one of WordNet that comes with the package."""

from __future__ import annotations

import lzma
from collections import Counter
from pathlib import Path

import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.prompts import wordnet
from clipn.prompts.wordnet import Lexicon, Meaning


def test_wordnet_comes_with_the_package() -> None:
    found = wordnet.load()
    assert (len(found.nouns), len(found.adjectives), len(found.meanings)) == (117762, 21460, 84596)
    for words in (found.nouns, found.adjectives):
        assert len(set(words)) == len(words)
        assert all(len(word) > 1 and word == word.lower().strip() for word in words)
        assert not any(mark in word for word in words for mark in ("_", "(", "|"))
    topics = Counter(meaning.topic for meaning in found.meanings)
    assert len(topics) == 29
    assert topics["noun.animal"] == 7056


def test_synonyms_share_the_first_sense() -> None:
    found = wordnet.load()
    assert found.synonyms("airplane") == ("aeroplane", "plane")
    assert found.synonyms("Motor_Car") == ()
    assert found.synonyms("MOTORCAR") == found.synonyms(" motorcar ") == ("car", "auto", "automobile")
    assert "machine" not in found.synonyms("car")
    assert found.synonyms("black and white warbler") == found.synonyms("umbrella") == ()
    assert found.synonyms("beautiful") == ()


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes("\ufeffword\tnote\tkind\r\nIce_cream |gelato\tcold\tnoun\r\n\r\nbright\t\tadjective\r\n".encode())
    assert wordnet.read(path) == Lexicon((Meaning("noun", ("Ice cream", "gelato")), Meaning("adjective", ("bright",))))
    assert wordnet.read(path).synonyms("ice cream") == ("gelato",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "first line has to name the columns kind and word"),
        (b"noun\tdog\n", "first line has to name"),
        (b"kind\tword\n", "has no words"),
        (b"kind\tword\nnoun\tdog\nnoun\n", "list, line 3: there are 1 cells for 2 columns"),
        (b"kind\tword\nverb\tgo\n", r"line 2: expected is a kind, noun or adjective, and a word, not 'verb\\tgo'"),
        (b"kind\tword\nnoun\tdog||cat\n", "line 2: expected"),
        (b"kind\tword\nnoun\t\xff\n", "is not UTF-8 text"),
        (lzma.compress(b"kind\tword\nnoun\tdog\n")[:-9], "is cut off"),
        (lzma.compress(b"kind\tword\nnoun\tdog\n").replace(b"dog", b"cat"), "is damaged"),
    ],
)
def test_a_damaged_list_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        wordnet.parse(data, "list")


def test_a_list_that_grows_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wordnet, "MAX_BYTES", 1000)
    with pytest.raises(InvalidData, match="holds more than 1000 bytes"):
        wordnet.parse(lzma.compress(b"kind\tword\n" + b"noun\tdog\n" * 10_000), "list")
    (tmp_path / "list").write_bytes(b"kind\tword\n" + b"noun\tdog\n" * 1000)
    with pytest.raises(InvalidData, match="has more than 1000 bytes"):
        wordnet.read(tmp_path / "list")
    with pytest.raises(MissingInput, match=r"words\.path has to name a TSV"):
        wordnet.read(tmp_path / "none")
