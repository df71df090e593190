from __future__ import annotations

import numpy as np

from clipn.scores.word_features import WordFeatures

WORDS = WordFeatures(
    ("Ice cream", "dog", "bright", "bright scene"),
    ("noun", "noun", "adjective", "phrase"),
    ("noun.food", "noun.animal", "adj.all", "adj.all"),
    np.arange(8, dtype=np.float32).reshape(4, 2),
)


def test_rows_stay_together() -> None:
    found = WORDS.take(np.array([3, 0]))
    assert (found.entries, found.kinds) == (("bright scene", "Ice cream"), ("phrase", "noun"))
    assert found.topics == ("adj.all", "noun.food")
    assert found.features.tolist() == [[6, 7], [0, 1]]
    assert len(found) == 2


def test_entries_of_some_kinds_or_topics() -> None:
    assert WORDS.of_kinds("phrase", "noun").entries == ("Ice cream", "dog", "bright scene")
    assert WORDS.without_topics({"noun.animal", "adj.all"}).entries == ("Ice cream",)
    assert len(WORDS.of_kinds("verb")) == 0
    assert WORDS.of_kinds("verb").features.shape == (0, 2)


def test_names_of_classes_are_found_however_they_are_written() -> None:
    assert WORDS.without(["ice_cream", "DOG ", "cat"]).entries == ("bright", "bright scene")
    assert WORDS.without(WORDS.entries).features.shape == (0, 2)
