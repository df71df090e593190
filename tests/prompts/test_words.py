"""Which texts of a list are encoded, how, and the file of their features."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, NonFinite
from clipn.models import backbone
from clipn.models.backbone import Backbone
from clipn.prompts import wordnet, words
from clipn.prompts.wordnet import Lexicon, Meaning
from clipn.prompts.words import SUPERCLASSES, Entry
from clipn.training.pretrain import preprocess_cfg
from clipn.utils.progress import Phases
from tests.conftest import TINY

LEXICON = Lexicon(
    (
        *(Meaning("noun", (f"noun {i}", f"other {i}"), "noun.act") for i in range(10)),
        Meaning("noun", ("NOUN 3",), "noun.food"),
        *(Meaning("adjective", (f"adjective {i}",), "adj.all") for i in range(4)),
    )
)


@pytest.fixture
def clip(tiny_clip: torch.nn.Module, tmp_path: Path) -> Backbone:
    backbone.save(tiny_clip, TINY, preprocess_cfg(TINY), tmp_path / "clip")
    return backbone.load(tmp_path / "clip")


def test_one_word_of_each_meaning_and_a_phrase_for_each_adjective() -> None:
    entries = words.choose(LEXICON, None, seed=0)
    assert Counter(entry.kind for entry in entries) == {"noun": 10, "adjective": 4, "phrase": 4}
    assert entries[:10] == [Entry("noun", f"noun {i}", "noun.act") for i in range(10)]
    assert entries[10:14] == [Entry("adjective", f"adjective {i}", "adj.all") for i in range(4)]
    for i, entry in enumerate(entries[14:]):
        assert entry.text.removeprefix(f"adjective {i} ") in SUPERCLASSES
        assert entry.topic == "adj.all"


def test_a_limit_spreads_evenly_over_nouns_and_over_adjectives() -> None:
    texts = [entry.text for entry in words.choose(LEXICON, 3, seed=0) if entry.kind != "phrase"]
    assert texts == ["noun 0", "noun 3", "noun 6", "adjective 0", "adjective 1", "adjective 2"]
    assert len(words.choose(LEXICON, 5, seed=0)) == 5 + 4 + 4


def test_the_seed_draws_the_superclasses() -> None:
    many = Lexicon(tuple(Meaning("adjective", (f"a{i}",)) for i in range(1400)))
    first, again, other = (words.choose(many, None, seed) for seed in (0, 0, 1))
    assert first == again != other
    drawn = Counter(entry.text.split()[1] for entry in first if entry.kind == "phrase")
    assert set(drawn) == set(SUPERCLASSES)
    assert len(SUPERCLASSES) == 14
    assert max(drawn.values()) < 150


def test_the_whole_of_wordnet() -> None:
    kinds = Counter(entry.kind for entry in words.choose(wordnet.load(), None, seed=0))
    assert kinds == {"noun": 70246, "adjective": 14350, "phrase": 14350}


def test_features_are_means_over_the_sentences_of_a_kind(clip: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "BATCH", 4)  # so that the four sentences of the phrase fall into two batches
    entries = [Entry("noun", "dog", "noun.animal"), Entry("adjective", "red", ""), Entry("phrase", "red scene", "")]
    calls: list[tuple[int, int]] = []
    phases = Phases()
    found = words.encode(entries, clip, lambda done, total: calls.append((done, total)), phases)
    assert (found.entries, found.kinds) == (("dog", "red", "red scene"), ("noun", "adjective", "phrase"))
    assert found.topics == ("noun.animal", "", "")
    assert calls == [(4, 6), (6, 6)]
    assert set(phases.seconds()) == {"tokenize", "tower"}

    def alone(*texts: str) -> np.ndarray:
        with torch.inference_mode():
            features = torch.cat([clip.model.encode_text(clip.tokenize([t]), normalize=True) for t in texts])
        mean = features.mean(dim=0)
        return (mean / mean.norm()).numpy()

    expected = [
        alone("the nice dog"),
        alone("This is a red photo"),
        alone("red scene", "a nice photo of red scene", "a good photo of red scene", "a close-up photo of red scene"),
    ]
    np.testing.assert_allclose(found.features, expected, atol=1e-6)


def test_a_damaged_text_tower_is_noticed(clip: Backbone) -> None:
    clip.text.positional_embedding[3] = torch.nan
    with pytest.raises(NonFinite, match="'dog'"):
        words.encode([Entry("noun", "dog", "")], clip)


def test_written_features_are_read_as_they_were(clip: Backbone, tmp_path: Path) -> None:
    made = words.encode(words.choose(LEXICON, None, 0), clip)
    words.write(tmp_path / "w.parquet", made, "abc")
    found = words.read(tmp_path / "w.parquet", "abc")
    assert (found.entries, found.kinds, found.topics) == (made.entries, made.kinds, made.topics)
    np.testing.assert_allclose(found.features, made.features, atol=3e-4)
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), 1, atol=1e-6)
    assert pq.read_schema(tmp_path / "w.parquet").types[-1] == pa.binary(32)


def test_features_of_another_backbone_are_refused(clip: Backbone, tmp_path: Path) -> None:
    words.write(tmp_path / "w.parquet", words.encode(words.choose(LEXICON, 1, 0), clip), "abc")
    with pytest.raises(BackboneMismatch, match=r"of backbone abc, but this is def; .*dvc repro words"):
        words.read(tmp_path / "w.parquet", "def")


def test_other_files_are_refused(clip: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    with pytest.raises(MissingInput, match="dvc repro words"):
        words.read(path, "abc")
    made = words.encode(words.choose(LEXICON, None, 0), clip)
    words.write(path, made, "abc")
    whole = path.read_bytes()
    place = whole.index(made.features[5].astype("<f2").tobytes())
    pq.write_table(pa.table({"entry": ["dog"]}), tmp_path / "other.parquet")
    stranger = pq.read_table(path).drop_columns(["topic"])
    pq.write_table(stranger, tmp_path / "columns.parquet")
    damaged = {
        "holds no word features": b"not parquet",
        "checksum": whole[:place] + b"\0" + whole[place + 1 :],
        "no word features": (tmp_path / "other.parquet").read_bytes(),
        "not those of word features": (tmp_path / "columns.parquet").read_bytes(),
    }
    for message, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(InvalidData, match=message):
            words.read(path, "abc")
    words.write(path, replace(made, entries=(), kinds=(), topics=(), features=made.features[:0]), "abc")
    with pytest.raises(InvalidData):
        words.read(path, "abc")
