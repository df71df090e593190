"""Stage `words`: from a list to features that scores find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipn.models import backbone
from clipn.prompts import words as library
from flows.stages import baselines, words


def choose(**options: Any) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["words"].update(options)
    Path("params.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture
def project(scored_project: Path) -> Path:
    nouns = "".join(f"noun\tthing {i}|item {i}\n" for i in range(30))
    (scored_project / "words.tsv").write_text("kind\tword\n" + nouns + "adjective\tred\nadjective\tnew\n")
    choose(path="words.tsv", limit=20)
    return scored_project


def test_scores_find_the_words(project: Path) -> None:
    words.run()
    found = library.read("data/words/words.parquet", backbone.fingerprint("data/backbone"))
    assert len(found) == 20 + 2 + 2
    report = json.loads((project / "reports/stages/words.json").read_text())
    assert report["counts"] == {"in": 62, "noun": 20, "adjective": 2, "phrase": 2}
    assert {"tokenize", "tower"} < report["seconds"].keys()
    baselines.run("pictographs")
    metrics = json.loads((project / "reports/metrics/pictographs/baselines.json").read_text())
    assert {"NegLabel", "CSP"} <= metrics["methods"].keys()


def test_a_bare_image_tower_encodes_no_words(project: Path) -> None:
    backbone.from_timm("test_resnet", None, None, "data/backbone")
    with pytest.raises(Exception, match="data/backbone is a bare image tower, which can encode no words"):
        words.run()


def test_a_missing_list_is_named(project: Path) -> None:
    choose(path="nothing.tsv")
    with pytest.raises(Exception, match=r"nothing.tsv does not exist; words\.path has to name a TSV"):
        words.run()
