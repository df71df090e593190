"""Features of a word list: which texts are encoded, and the file that holds the result.

A word is encoded in the sentences that NegLabel (arXiv 2403.20078) and CSP (arXiv 2410.08611) put around it in their
released code. Of words with one meaning only the first is taken, as in the lists that come with that code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from clipn.errors import BackboneMismatch, InvalidData, MissingInput, NonFinite
from clipn.features.encode import encode_texts
from clipn.features.rows import METADATA_KEY
from clipn.models.backbone import Backbone
from clipn.prompts.wordnet import Lexicon
from clipn.scores.word_features import WordFeatures
from clipn.utils.arrays import Array, unit_norm
from clipn.utils.files import atomic_path
from clipn.utils.progress import Phases, Progress, silent
from clipn.utils.sampling import evenly
from clipn.utils.threads import prefetch

FILE = "words.parquet"
BATCH = 8192
"""Texts in memory as token ids at a time."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "noun": ("the nice {}",),
    "adjective": ("This is a {} photo",),
    "phrase": ("{}", "a nice photo of {}", "a good photo of {}", "a close-up photo of {}"),
}
"""Kind of entry → the sentences whose unit-norm features are averaged.

NegLabel's paper writes the first one "The nice {}."; its code has neither the capital nor the stop. CSP averages
eight sentences for nouns too; here both scores share NegLabel's, which spares 400,000 texts.
"""

SUPERCLASSES = (
    "environment",
    "space",
    "object",
    "scene",
    "place",
    "item",
    "area",
    "view",
    "thing",
    "pattern",
    "structure",
    "landscape",
    "vista",
    "creature",
)
"""CSP's nouns, one of which is drawn for each adjective: what images may show, as generally as it can be said."""


@dataclass(frozen=True)
class Entry:
    """One row of the features.

    Attributes:
        kind: a key of `SENTENCES`.
        text: the word or phrase.
        topic: as in `WordFeatures`.
    """

    kind: str
    text: str
    topic: str


def choose(lexicon: Lexicon, limit: int | None, seed: int) -> list[Entry]:
    """Return the nouns, the adjectives, and a phrase for each of the adjectives.

    Args:
        lexicon: the list; the first word of each of its meanings is taken, each word once.
        limit: take so many nouns and so many adjectives, spread evenly over the list; None takes all.
        seed: decides which superclass an adjective is joined with.
    """
    nouns, adjectives = (_spread(_first_words(lexicon, kind), limit) for kind in ("noun", "adjective"))
    drawn = np.random.default_rng(seed).integers(len(SUPERCLASSES), size=len(adjectives)).tolist()
    phrases = [
        Entry("phrase", f"{adjective.text} {SUPERCLASSES[number]}", adjective.topic)
        for adjective, number in zip(adjectives, drawn, strict=True)
    ]
    return [*nouns, *adjectives, *phrases]


def _first_words(lexicon: Lexicon, kind: str) -> list[Entry]:
    by_word: dict[str, Entry] = {}
    for meaning in lexicon.meanings:
        if meaning.kind == kind:
            by_word.setdefault(meaning.words[0].lower(), Entry(kind, meaning.words[0], meaning.topic))
    return list(by_word.values())


def _spread(entries: list[Entry], limit: int | None) -> list[Entry]:
    return [entries[i] for i in evenly(len(entries), limit or len(entries), "firsts")]


def encode(
    entries: Sequence[Entry], backbone: Backbone, progress: Progress = silent, phases: Phases | None = None
) -> WordFeatures:
    """Encode entries in the sentences of their kinds, as unit-norm means of unit-norm features.

    Args:
        entries: what `choose` gives.
        backbone: its text tower is used, on its device.
        progress: called with sentences done and in all.
        phases: where the seconds of `tokenize` and `tower` are counted; they overlap.

    Raises:
        NonFinite: a feature is NaN or infinite.
    """
    times = phases or Phases()
    texts = [sentence.format(entry.text) for entry in entries for sentence in SENTENCES[entry.kind]]

    def tokenized() -> Iterator[Tensor]:
        for start in range(0, len(texts), BATCH):
            with times("tokenize"):
                tokens = backbone.tokenize(texts[start : start + BATCH])
            yield tokens

    parts: list[Array] = []
    # While a GPU encodes, this thread only waits, so another one makes the next token ids in the meantime.
    with closing(prefetch(tokenized(), depth=1)) as batches:
        for tokens in batches:
            with times("tower"):
                parts.append(encode_texts(backbone.text, tokens))
            progress(min(len(parts) * BATCH, len(texts)), len(texts))
    counts = np.array([len(SENTENCES[entry.kind]) for entry in entries])
    # Rows of one entry lie together, so sums over runs of rows are its sums.
    sums = np.add.reduceat(np.concatenate(parts), np.cumsum(counts) - counts)
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if bad.size:
        raise NonFinite(f"the text feature of {entries[int(bad[0])].text!r} is not finite; the backbone is damaged")
    return WordFeatures(
        tuple(entry.text for entry in entries),
        tuple(entry.kind for entry in entries),
        tuple(entry.topic for entry in entries),
        unit_norm(sums),
    )


def write(path: str | Path, words: WordFeatures, backbone: str) -> None:
    """Write features as Parquet: `entry`, `kind`, `topic`, and `feature` as fixed binary of float16.

    Args:
        path: the file; it appears whole or not at all.
        words: what `encode` gives.
        backbone: fingerprint of the model that made them.
    """
    width = pa.binary(2 * words.features.shape[1])
    half = np.ascontiguousarray(words.features, dtype="<f2")
    columns = {
        "entry": pa.array(words.entries, pa.string()),
        "kind": pa.array(words.kinds, pa.string()),
        "topic": pa.array(words.topics, pa.string()),
        "feature": pa.Array.from_buffers(width, len(words), [None, pa.py_buffer(half)]),
    }
    meta = {"backbone": backbone, "dim": words.features.shape[1], "dtype": "float16", "normalised": True}
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(meta, sort_keys=True)})
    with atomic_path(path) as temporary:
        # As in the feature store, vectors go without dictionary and compression, which gain nothing on them.
        pq.write_table(table, temporary, use_dictionary=["kind", "topic"], compression="NONE", write_page_checksum=True)


def read(path: str | Path, backbone: str) -> WordFeatures:
    """Read what `write` wrote, as float32 of unit norm.

    Args:
        path: the file.
        backbone: fingerprint that the features must come from.

    Raises:
        MissingInput: there is no such file.
        InvalidData: it is damaged or another kind of file.
        BackboneMismatch: another backbone made the features.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run 'dvc repro words' to make it")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            meta = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
            if meta["backbone"] != backbone:
                raise BackboneMismatch(
                    f"{path} holds features of backbone {meta['backbone']}, but this is {backbone}; "
                    "make them again with 'dvc repro words'"
                )
            expected = [pa.string(), pa.string(), pa.string(), pa.binary(2 * meta["dim"])]
            if file.schema_arrow.types != expected or not file.metadata.num_rows:
                raise InvalidData(f"{path} has columns of types {file.schema_arrow.types}, not those of word features")
            table = file.read(["entry", "kind", "topic", "feature"]).combine_chunks()
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise InvalidData(f"{path} holds no word features: {error}; run 'dvc repro words' to make them") from error
    entries, kinds, topics = (tuple(table[name].to_pylist()) for name in ("entry", "kind", "topic"))
    return WordFeatures(entries, kinds, topics, unit_norm(_vectors(table["feature"].chunk(0), meta["dim"])))


def _vectors(array: pa.FixedSizeBinaryArray, dim: int) -> NDArray[np.float16]:
    return np.frombuffer(array.buffers()[1], "<f2")[array.offset * dim :][: len(array) * dim].reshape(-1, dim)
