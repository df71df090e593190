"""CSP's choice of words against cases made by hand."""

from __future__ import annotations

import numpy as np

from clipn.scores.base import Evidence
from clipn.scores.csp import CSP
from clipn.scores.neg_label import NegLabel
from tests.scores.word_lists import YES, joined, words


def test_csp_takes_no_word_that_is_near_a_class() -> None:
    yes = np.stack([YES[0]] * 30 + [YES[1]])
    pool = joined(words(("second class", 91), ("else", 45), ("opposite", 60)), words(("p", 270), kind="phrase"))
    assert NegLabel().fit(Evidence(yes, words=pool)).words.entries == ("second class",)
    assert CSP().fit(Evidence(yes, words=pool)).words.entries == ("opposite", "p")


def test_where_all_words_are_too_near_the_farthest_are_taken() -> None:
    pool = joined(words(("a", 1), ("b", 95)), words(("c", 89), kind="phrase"))
    assert CSP().fit(Evidence(YES, words=pool)).words.entries == ("b", "c")
