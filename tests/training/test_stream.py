"""Shuffled batches: every pair once an epoch, the same for any number of processes, and from any step on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from clipn.errors import InvalidData, InvalidParams
from clipn.features import writer
from clipn.features.store import FeatureStore
from clipn.models.packing import Packed
from clipn.prompts.paired import PairedTokens
from clipn.prompts.templates import Pair
from clipn.training import stream
from clipn.training.stream import Batch, Draws, PairStream
from tests.training_data import END, START, write_pairs

SHARDS = (130, 7, 61, 2)
STEPS = 12  # an epoch of 200 pairs in batches of 16
PROMPTS = Draws(n_prompts=3, mean=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Shards of very different sizes, in row groups of 20."""
    monkeypatch.setattr(writer, "ROW_GROUP", 20)
    return FeatureStore.open(write_pairs(tmp_path, SHARDS))


@pytest.fixture
def make(store: FeatureStore) -> Callable[..., PairStream]:
    defaults = {"batch_size": 16, "seed": 0, "draws": PROMPTS, "shuffle_rows": 50}
    return lambda **options: PairStream(store, **{**defaults, **options})


def take(pairs: PairStream, count: int, start: int = 0) -> list[Batch]:
    batches = pairs.batches(start)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys.to_pylist()]


def equal(one: Batch, other: Batch) -> bool:
    tensors = all(
        value is None or torch.equal(value, getattr(other, name)) for name, value in vars(one).items() if name != "keys"
    )
    return tensors and one.keys.to_pylist() == other.keys.to_pylist()


def test_an_epoch_shows_every_pair_once_but_an_incomplete_batch(make: Callable[..., PairStream]) -> None:
    pairs = make()
    assert pairs.steps_per_epoch == STEPS
    every = {f"{shard}-{row}" for shard, rows in enumerate(SHARDS) for row in range(rows)}
    first, second = (keys(take(pairs, STEPS, start)) for start in (0, STEPS))
    for epoch in (first, second):
        assert len(epoch) == len(set(epoch)) == 192
        assert set(epoch) < every
    assert first != second


def test_rows_stay_together(make: Callable[..., PairStream], store: FeatureStore) -> None:
    """Key, image, text and tokens of a pair arrive in the same place."""
    stored = store.load()
    assert stored.text is not None
    assert stored.tokens is not None
    row = {key: index for index, key in enumerate(stored.keys)}
    for batch in take(make(), 3):
        rows = [row[key] for key in batch.keys.to_pylist()]
        np.testing.assert_allclose(batch.images.numpy(), stored.image[rows], atol=1e-3)
        assert batch.texts is not None
        np.testing.assert_allclose(batch.texts.numpy(), stored.text[rows], atol=1e-3)
        for tokens, index in zip(batch.tokens, rows, strict=True):
            assert tokens[: len(stored.tokens[index])].tolist() == stored.tokens[index].tolist()
            assert not tokens[len(stored.tokens[index]) :].any()


def test_shuffles_across_shards(make: Callable[..., PairStream]) -> None:
    """The small shards are not all in one place, and neighbours of a shard are not neighbours here."""
    epoch = keys(take(make(shuffle_rows=200), STEPS))
    assert len({key.split("-")[0] for key in epoch[:32]}) >= 2
    following = sum(
        a.split("-")[0] == b.split("-")[0] and int(b.split("-")[1]) == int(a.split("-")[1]) + 1
        for a, b in pairwise(epoch)
    )
    assert following < 10


def test_seed_and_epoch_decide_everything(make: Callable[..., PairStream]) -> None:
    assert all(map(equal, take(make(), 20), take(make(), 20)))
    assert keys(take(make(seed=1), 2)) != keys(take(make(), 2))


@pytest.mark.parametrize("shuffle_rows", [2, 50, 1000])
@pytest.mark.parametrize("start", [1, 5, 11, 12, 17])
def test_any_step_can_be_the_first(make: Callable[..., PairStream], start: int, shuffle_rows: int) -> None:
    pairs = make(shuffle_rows=shuffle_rows)
    assert all(map(equal, take(pairs, 4, start), take(pairs, start + 4)[start:]))


@pytest.mark.parametrize("shuffle_rows", [2, 50, 1000])
@pytest.mark.parametrize("size", [2, 4])
def test_processes_divide_the_same_batches(make: Callable[..., PairStream], size: int, shuffle_rows: int) -> None:
    whole = take(make(shuffle_rows=shuffle_rows), 15)
    parts = [take(make(shuffle_rows=shuffle_rows, rank=rank, size=size), 15) for rank in range(size)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert keys([batch]) == keys(shares)
        assert torch.equal(batch.images, torch.cat([share.images for share in shares]))
        assert batch.prompts is not None
        assert torch.equal(batch.prompts, torch.cat([share.prompts for share in shares]))  # type: ignore[misc]


def test_all_prompts_and_their_mean_are_drawn(make: Callable[..., PairStream]) -> None:
    def drawn(draws: Draws) -> set[int]:
        return {int(p) for batch in take(make(draws=draws), STEPS) for p in batch.prompts}  # type: ignore[union-attr]

    assert drawn(PROMPTS) == {0, 1, 2, 3}
    assert drawn(Draws(n_prompts=3, mean=False)) == {0, 1, 2}


def test_one_view_of_each_image_is_drawn(tmp_path: Path) -> None:
    store = FeatureStore.open(write_pairs(tmp_path, (32,), views=3))
    stored = store.load()
    assert stored.views is not None
    pairs = PairStream(store, batch_size=16, seed=0, draws=PROMPTS, shuffle_rows=50)
    seen = set()
    for batch in take(pairs, 4):
        for key, image in zip(batch.keys.to_pylist(), batch.images.numpy(), strict=True):
            distances = np.abs(stored.views[stored.keys.index(key)] - image).max(axis=1)  # type: ignore[attr-defined]
            assert distances.min() < 1e-3
            seen.add(int(distances.argmin()))
    assert seen == {0, 1, 2}


def test_handcrafted_templates_are_drawn_and_texts_left_to_the_tower(make: Callable[..., PairStream]) -> None:
    def tokenize(texts: list[str]) -> torch.Tensor:  # a word is its length
        rows = [[START, *map(len, text.split()), END] for text in texts]
        return torch.tensor([row + [0] * (24 - len(row)) for row in rows])

    pairs = PairedTokens.of(
        [Pair("a {}", "no {}"), Pair("some {}", "nothing {}")], tokenize, lambda t: (t == END).int().argmax(1)
    )
    batch = take(make(draws=Draws(pairs=pairs, context_length=24)), 1)[0]
    assert batch.texts is None
    assert batch.prompts is None
    assert batch.yes_tokens is not None
    words = {(int(yes[1]), int(no[1])) for yes, no in zip(batch.yes_tokens, batch.tokens, strict=True)}
    assert words == {(1, 2), (4, 7)}
    torch.testing.assert_close(batch.yes_tokens[:, 2:], batch.tokens[:, 2:])


def test_a_pool_holds_no_more_than_asked(make: Callable[..., PairStream]) -> None:
    pools = list(make(shuffle_rows=50)._pools(0, 0))
    assert sum(len(pool.order) for pool in pools) == 200
    assert max(len(pool.order) for pool in pools) < 50 + 20


def test_a_damaged_shard_is_named_when_it_is_reached(make: Callable[..., PairStream], tmp_path: Path) -> None:
    path = tmp_path / "00000.parquet"
    content = bytearray(path.read_bytes())
    content[300:310] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=r"00000\.parquet is damaged"):
        take(make(), STEPS)


def test_too_few_pairs(make: Callable[..., PairStream]) -> None:
    with pytest.raises(InvalidParams, match=r"train\.batch_size is 512.*only 200 training pairs"):
        make(batch_size=512)


def test_half_precision_features_do_not_break_the_square_root() -> None:
    """Rounding to float16 can push a cosine above 1; what a batch holds has unit norm again."""
    stretched = np.ones((4, 64), np.float16) * np.float16(0.1251)
    rows = stream.unit_norm(stretched)
    assert (rows * rows).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_texts_come_packed_where_they_are_to_be(make: Callable[..., PairStream]) -> None:
    def pack(tokens: torch.Tensor) -> Packed:
        return Packed.of(tokens, tokens.argmax(dim=1))

    for plain, packed in zip(take(make(), 3), take(make(pack=pack), 3), strict=True):
        assert isinstance(packed.tokens, Packed)
        expected = pack(plain.tokens)  # type: ignore[arg-type]
        assert torch.equal(packed.tokens.ids, expected.ids)
        assert torch.equal(packed.tokens.rows, expected.rows)
        assert torch.equal(packed.images, plain.images)
