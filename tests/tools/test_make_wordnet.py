"""The list of WordNet, made from a small dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipn.errors import InvalidData, MissingInput
from clipn.prompts import wordnet
from clipn.prompts.wordnet import Meaning
from tools import make_wordnet

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
DICTIONARY = {
    "data.noun": LICENCE + "00000010 18 n 02 car 0 machine 0 000 | a motor vehicle  \n"
    "00000020 06 n 03 machine 0 simple_Machine 2 CAR 1 001 @ 00000010 n 0000 | a device  \n"
    "00000030 15 n 02 St._Kitts 0 china 0 000 | an island  \n"
    "00000040 10 n 02 A 0 letter_a 0 000 | the first letter  \n",
    "index.noun": LICENCE + "a n 1 0 1 0 00000040  \n"
    "car n 2 1 @ 2 1 00000010 00000020  \n"
    "china n 1 0 1 0 00000030  \n"
    "letter_a n 1 0 1 0 00000040  \n"
    "machine n 2 2 @ ~ 2 0 00000020 00000010  \n"
    "simple_machine n 1 0 1 0 00000020  \n"
    "st._kitts n 1 0 1 0 00000030  \n",
    "data.adj": LICENCE + "00000010 00 a 03 galore(ip) 0 22-caliber(a) 0 two-ply 0 000 | plenty  \n"
    "00000020 44 s 01 done(p) 0 000 | finished  \n",
    "index.adj": LICENCE + "22-caliber a 1 0 1 0 00000010  \ndone a 1 0 1 0 00000020  \n"
    "galore a 1 0 1 0 00000010  \ntwo-ply a 1 0 1 0 00000010  \n",
}
MEANINGS = {
    Meaning("noun", ("car",), "noun.person"),
    Meaning("noun", ("machine", "simple machine"), "noun.artifact"),
    Meaning("noun", ("st. kitts", "china"), "noun.location"),
    Meaning("noun", ("letter a",), "noun.communication"),
    Meaning("adjective", ("galore", "22-caliber", "two-ply"), "adj.all"),
    Meaning("adjective", ("done",), "adj.ppl"),
}


def dictionary(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {**DICTIONARY, **changed}.items():
        (folder / name).write_text(text)
    return folder


def test_every_word_stands_once_with_its_first_sense(tmp_path: Path) -> None:
    made = make_wordnet.make(dictionary(tmp_path / "dict"), tmp_path / "out.tsv.xz")
    assert set(made.meanings) == MEANINGS
    assert wordnet.read(tmp_path / "out.tsv.xz") == made
    assert made.nouns == ("machine", "simple machine", "letter a", "st. kitts", "china", "car")
    assert made.adjectives == ("galore", "22-caliber", "two-ply", "done")


def test_the_same_dictionary_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_wordnet.make(dictionary(tmp_path / "dict"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.noun", "00000010 18 n 02 car 0\n", "index.noun does not fit to data.noun: 'a n 1"),
        ("data.noun", "<!doctype html> <p> Not found\n", "data.noun is no file of a WordNet dictionary: '<!doc"),
        ("data.adj", "00000010 29 v 01 do 0 000 | act\n", "data.adj is no file of a WordNet dictionary"),
        ("index.adj", "gone a 1 0 1 0 00000010\n", "index.adj does not fit to data.adj: 'gone a"),
    ],
)
def test_other_files_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=message):
        make_wordnet.make(dictionary(tmp_path / "dict", **{name: text}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"data\.noun does not exist; name the folder of a WordNet 3.0 dictionary"):
        make_wordnet.make(tmp_path, tmp_path / "out")


def test_the_command_says_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = dictionary(tmp_path / "dict"), tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["make_wordnet", str(folder), "--out", str(out)])
    make_wordnet.main()
    assert f"{out}: 6 nouns and 4 adjectives of 6 meanings" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["make_wordnet", str(tmp_path / "nowhere"), "--out", str(out)])
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        make_wordnet.main()
