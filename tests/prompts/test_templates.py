from __future__ import annotations

import pytest

from clipn.data import miniature
from clipn.errors import InvalidData, InvalidParams
from clipn.prompts import templates
from clipn.prompts.templates import Pair

NEGATIONS = {"no", "not", "without"}


@pytest.mark.parametrize(
    ("name", "count"), [("symbols", 9), ("openai_imagenet", 80), ("simple", 7), ("reference", 128), ("clipn", 128)]
)
def test_every_template_takes_one_name(name: str, count: int) -> None:
    found = templates.load(name)
    assert len(found) == len(set(found)) == count
    assert all("umbrella" in template.format("umbrella") and template.count("{}") == 1 for template in found)


def test_an_unknown_set_lists_the_known() -> None:
    with pytest.raises(InvalidParams, match="known: symbols, openai_imagenet, simple, reference, clipn"):
        templates.load("poems")
    with pytest.raises(InvalidParams, match="paired template set 'simple'; known: symbols, photo, reference, clipn"):
        templates.load_paired("simple")


def test_symbol_templates_use_the_words_of_the_captions() -> None:
    words = {word for template in templates.load("symbols") for word in template.replace("{}", "").split()}
    spoken = {word for caption in miniature.CAPTIONS for word in caption.split() if "{" not in word}
    attributes = {*miniature.FOREGROUNDS, *miniature.BACKGROUNDS, *miniature.SIZES}
    assert words <= spoken | attributes


@pytest.mark.parametrize(("name", "count"), [("symbols", 9), ("photo", 80), ("reference", 128), ("clipn", 128)])
def test_every_pair_is_a_sentence_and_its_negation(name: str, count: int) -> None:
    found = templates.load_paired(name)
    assert len(found) == len({(pair.yes, pair.no) for pair in found}) == count
    for pair in found:
        assert pair.yes.count("{}") == pair.no.count("{}") == 1
        assert NEGATIONS & set(pair.no.replace("'", "").split())
        assert not NEGATIONS & set(pair.yes.replace("'", "").split())


def test_photo_pairs_are_the_published_templates_with_one_negation_each() -> None:
    found = templates.load_paired("photo")
    assert tuple(pair.yes for pair in found) == templates.load("openai_imagenet")
    assert len({pair.no for pair in found}) == 80
    assert Pair("a bad photo of a {}.", "a bad photo of no {}.") in found


def test_reference_pairs_keep_the_quotation_marks_that_the_released_code_feeds() -> None:
    found = templates.load_paired("reference")
    assert found[0] == Pair("'a bad photo of a {}.'", "'a bad photo of no {}.'")
    assert found[-1] == Pair("'a tattoo with the {}.'", "'a tattoo without the {}.'")
    assert {pair.yes.rstrip(",")[-1] + pair.yes[0] for pair in found} == {"''"}
    assert [i for i, pair in enumerate(found) if pair.yes.endswith(",") and pair.no.endswith(",")] == [34, 98]
    assert len({pair.no for pair in found}) == 98


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("yes\tno\n", "then pairs"),
        ("no\tyes\na {}\tno {}\n", "first line"),
        ("yes\tno\na {}\tno {}\na {}\n", r"set.tsv, line 3: 'a \{\}'"),
        ("yes\tno\na {}\tno {}\tnone {}\n", "line 2"),
        ("yes\tno\na {}\tno\n", "one {} each"),
        ("yes\tno\na {} {}\tno {}\n", "one {} each"),
        ("yes\tno\na {}\tno {} {\n", "one {} each"),
        ("yes\tno\na {0}\tno {}\n", "line 2"),
    ],
)
def test_a_damaged_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        templates.parse_paired(text, "set.tsv")


def test_clipn_pairs_are_the_reference_s_without_what_was_not_meant() -> None:
    stripped = [
        Pair(pair.yes.rstrip(",").strip("'"), pair.no.rstrip(",").strip("'"))
        for pair in templates.load_paired("reference")
    ]
    assert list(templates.load_paired("clipn")) == stripped
