"""What an attack did, in numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipn import scores
from clipn.evaluation.attack import compare
from clipn.evaluation.attack.compare import Moved
from clipn.features.rows import FeatureBatch, FeatureMeta
from clipn.metrics.detection import auroc
from clipn.scores import Evidence
from clipn.scores.panel import Panel, kinds_of
from tests.training_data import unit

META = FeatureMeta(8, "abc", "none", 1.0, "evaluation", pooled=12)


def batch(rng: np.random.Generator, count: int) -> FeatureBatch:
    image, pooled = unit(rng, count, 8).astype(np.float16), rng.normal(size=(count, 12)).astype(np.float16)
    return FeatureBatch([f"k{i}" for i in range(count)], image, pooled=pooled)


def test_change_and_cosine_by_hand() -> None:
    starts = np.zeros((2, 1, 2, 3), np.uint8)
    moved = starts.copy()
    moved[0, 0, 0, 0], moved[1, 0, 1, 2] = 9, 3
    assert compare.change(starts, moved) == compare.change(moved, starts) == 1.0
    a = FeatureBatch(["a", "b"], np.eye(2), pooled=np.array([[3.0, 4.0, 0], [0, 0, 2]]))
    b = FeatureBatch(["c", "d"], np.array([[1.0, 0], [0, -1]]), pooled=np.array([[1.0, 0, 0], [0, 0, 7]]))
    assert compare.cosine(a, b) == pytest.approx((0.6 + 1) / 2)
    assert compare.cosine(replace(a, pooled=None), replace(b, pooled=None)) == pytest.approx(0)


def test_targets_are_taken_out_of_the_id_images() -> None:
    images = batch(np.random.default_rng(0), 5)
    reduced = compare.without_targets({None: Evidence(None, images=images), 3: Evidence(None)}, {"k1", "k4"})
    assert reduced[None].images is not None
    assert reduced[None].images.keys == ["k0", "k2", "k3"]
    assert reduced[None].images.pooled is not None
    assert images.pooled is not None
    assert (reduced[None].images.pooled == images.pooled[[0, 2, 3]]).all()
    assert reduced[3].images is None


def test_every_number_is_that_of_the_scores() -> None:
    rng = np.random.default_rng(1)
    id_batch, starts, goals, after, images = (batch(rng, count) for count in (40, 10, 10, 10, 30))
    plain = Evidence(unit(rng, 3, 8), images=images)
    evidence = {None: plain, **{seed: replace(plain, no=unit(rng, 3, 8)) for seed in (0, 1)}}
    panel = Panel.fit(["MCM", "CLIPN-CTW", "1-NN"], evidence, kinds_of(META))
    fewer = compare.without_targets(evidence, {"k0", "k7"})
    refitted = Panel.fit(["1-NN"], fewer, kinds_of(META))
    parts = [id_batch.rows(slice(0, 15)), id_batch.rows(slice(15, 40))]
    result = compare.compare(panel, refitted, iter(parts), starts, goals, {"patchy": Moved(0.0, after, 2.5, 8)})

    def expected(method: str, evidence: Evidence, ood_batch: FeatureBatch) -> float:
        score = scores.fit(method, evidence)
        of_id, of_ood = (score.score(scores.features_of(x, score.takes)) for x in (id_batch, ood_batch))
        return pytest.approx(auroc(of_id, of_ood))  # type: ignore[no-any-return]

    assert result["patchy"] == {
        "weight": 0.0,
        "cosine_before": compare.cosine(starts, goals),
        "cosine_after": compare.cosine(after, goals),
        "change": 2.5,
        "difference_times": 8,
        "methods": {
            "MCM": {
                "trained": False,
                "before": [expected("MCM", plain, starts)],
                "after": [expected("MCM", plain, after)],
            },
            "CLIPN-CTW": {
                "trained": True,
                "before": [expected("CLIPN-CTW", evidence[seed], starts) for seed in (0, 1)],
                "after": [expected("CLIPN-CTW", evidence[seed], after) for seed in (0, 1)],
            },
            "1-NN": {
                "trained": False,
                "before": [expected("1-NN", plain, starts)],
                "after": [expected("1-NN", plain, after)],
                "after_without_targets": [expected("1-NN", fewer[None], after)],
            },
        },
    }
