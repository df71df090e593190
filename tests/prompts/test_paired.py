"""Captions joined with templates as token ids, against the tokenizer on the whole sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from clipn.errors import UnsupportedModel
from clipn.prompts.paired import PairedTokens
from clipn.prompts.templates import PAIRED, Pair, load_paired

CONTEXT = 24  # small enough for captions to be cut

# Words, digits, contractions and runs of punctuation, in several scripts, with and without spaces between.
WORDS = ["dog", "Ümläut", "犬", "7", "2024", "'s", "n't", " ", "  "]
MARKS = ["'", ".", ",", "...", "!?", "(", "—", "é\u0301", "🐕", "_"]
captions = st.one_of(
    st.lists(st.sampled_from(WORDS + MARKS), max_size=40).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=40),
)


@cache
def tokenizer(clean: str = "lower") -> SimpleTokenizer:
    return SimpleTokenizer(context_length=CONTEXT, clean=clean)


def ends(tokens: Tensor) -> Tensor:
    return tokens.argmax(dim=-1)


@cache
def paired(name: str) -> PairedTokens:
    return PairedTokens.of(load_paired(name), tokenizer(), ends)


def join(name: str, texts: Sequence[str], pairs: Sequence[int]) -> tuple[Tensor, Tensor]:
    return paired(name).join(tokenizer()(texts), torch.tensor(pairs), CONTEXT)


def whole(name: str, texts: Sequence[str], pairs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What the tokenizer makes of the sentences, without columns that hold padding alone."""
    drawn = [load_paired(name)[pair] for pair in pairs]
    yes = tokenizer()([pair.yes.format(text) for pair, text in zip(drawn, texts, strict=True)])
    no = tokenizer()([pair.no.format(text) for pair, text in zip(drawn, texts, strict=True)])
    return yes[:, : int(ends(yes).max()) + 1], no[:, : int(ends(no).max()) + 1]


def is_punctuation(char: str) -> bool:
    """Whether CLIP's tokenizer joins the character with others of its kind to a word."""
    return tokenizer().pat.findall(char + "!") == [char + "!"]


def cleaned(text: str) -> str:
    """A caption that the tokenizer's cleaning leaves as it is."""
    text = tokenizer().clean_fn(text)
    assume(text == tokenizer().clean_fn(text) and "_of_text>" not in text)
    return text


@pytest.mark.parametrize("name", PAIRED)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(texts=st.lists(captions, min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_equals_the_tokenizer_unless_a_word_spans_the_border(name: str, texts: list[str], seed: int) -> None:
    texts = [cleaned(text) for text in texts]
    pairs = np.random.default_rng(seed).integers(len(paired(name)), size=len(texts)).tolist()
    sides = zip(join(name, texts, pairs), whole(name, texts, pairs), ("yes", "no"), strict=True)
    for found, expected, side in sides:
        assert found.dtype == torch.int64
        width = max(found.shape[1], expected.shape[1])
        found, expected = (F.pad(tokens, (0, width - tokens.shape[1])) for tokens in (found, expected))
        for row, (text, pair) in enumerate(zip(texts, pairs, strict=True)):
            template = getattr(load_paired(name)[pair], side)
            sentence, follows = template.format(text), template.partition("{}")[2]
            if tokenizer().clean_fn(sentence) != " ".join(sentence.split()):
                continue  # looks like broken encoding, but only beside the template
            spans = bool(text and follows) and is_punctuation(text[-1]) and is_punctuation(follows[0])
            same = torch.equal(found[row], expected[row])
            if not spans:
                assert same
            elif int(ends(expected[row])) < CONTEXT - 1:  # else the border may be cut off
                assert not same


def test_the_known_difference() -> None:
    ids = tokenizer().encoder
    pair = [pair.yes for pair in load_paired("photo")].index("a photo of a {}.")
    joined, tokenized = join("photo", ["a dog."], [pair])[0], whole("photo", ["a dog."], [pair])[0]
    assert joined[0, -3:].tolist() == [ids[".</w>"], ids[".</w>"], ids["<end_of_text>"]]
    assert tokenized[0, -3:].tolist() == [ids["dog</w>"], ids["..</w>"], ids["<end_of_text>"]]
    apart = whole("photo", ["a dog. "], [pair])[0]
    assert torch.equal(join("photo", ["a dog. "], [pair])[0], apart)
    assert torch.equal(joined, apart)


def test_what_is_too_long_is_cut_as_the_tokenizer_cuts() -> None:
    texts = ["dog " * length for length in range(CONTEXT + 2)]
    pairs = [35] * len(texts)  # "a {} in a video game.": the suffix is cut too
    for found, expected in zip(join("photo", texts, pairs), whole("photo", texts, pairs), strict=True):
        assert found.shape == (len(texts), CONTEXT)
        assert torch.equal(found, expected)
    assert (join("photo", texts[-3:], pairs[-3:])[0][:, -1] == tokenizer().eot_token_id).all()


def test_takes_what_a_feature_store_holds() -> None:
    tokens = tokenizer()(["a dog", "two cats on a red sofa"])[:, :8].numpy().astype(np.int32)
    found = paired("photo").join(tokens, np.array([3, 5]), CONTEXT)
    for side, expected in zip(found, whole("photo", ["a dog", "two cats on a red sofa"], [3, 5]), strict=True):
        assert torch.equal(side, expected)


def test_a_tokenizer_that_drops_punctuation() -> None:
    clean = tokenizer("canonicalize")
    pairs = load_paired("photo")
    captions, every = clean(["It's a dog."] * len(pairs)), torch.arange(len(pairs))
    yes, no = PairedTokens.of(pairs, clean, ends).join(captions, every, CONTEXT)
    for found, sentences in ((yes, [p.yes for p in pairs]), (no, [p.no for p in pairs])):
        expected = clean([sentence.format("It's a dog.") for sentence in sentences])
        assert torch.equal(found, expected[:, : found.shape[1]])


def numbered(split: Callable[[str], Sequence[str]], start: list[int]) -> Callable[[Sequence[str]], Tensor]:
    """A tokenizer of another kind: ids in the order of first sight from 10 on, end 2, padding 1."""
    seen: dict[str, int] = {}

    def tokenize(texts: Sequence[str]) -> Tensor:
        rows = [[*start, *(seen.setdefault(part, 10 + len(seen)) for part in split(text)), 2] for text in texts]
        return torch.tensor([row + [1] * (CONTEXT - len(row)) for row in rows])

    return tokenize


@pytest.mark.parametrize("start", [[], [0], [7, 8]])
def test_other_start_end_and_padding_ids(start: list[int]) -> None:
    tokenize = numbered(str.split, start)
    found = PairedTokens.of([Pair("a {}", "no {} here")], tokenize, lambda t: (t == 2).int().argmax(dim=1))
    caption = tokenize(["red dog", "dog"])
    red, dog, a, no, here = tokenize(["red dog a no here"])[0, len(start) : len(start) + 5].tolist()
    yes, negated = found.join(caption, torch.tensor([0, 0]), CONTEXT)
    assert yes.tolist() == [[*start, a, red, dog, 2], [*start, a, dog, 2, 0]]
    assert negated.tolist() == [[*start, no, red, dog, here, 2], [*start, no, dog, here, 2, 0]]


def test_a_tokenizer_that_reads_spaces_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"train\.variant"):
        PairedTokens.of(
            [Pair("a {}", "no {}")],
            numbered(lambda text: re.findall(r" ?\S+| ", text), [0]),
            lambda t: (t == 2).int().argmax(dim=1),
        )
