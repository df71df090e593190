"""Stage `words`: text features of a word list, for scores that look for what the classes are not."""

from __future__ import annotations

from collections import Counter
from typing import Any

from clipn import paths
from clipn.errors import UnsupportedModel
from clipn.models import backbone
from clipn.project.params import read_params
from clipn.prompts import wordnet, words
from clipn.utils.progress import Phases
from flows.runtime import machine
from flows.runtime.stage import StageProgress, stage


@stage("words")
def run() -> dict[str, Any]:
    """Encode nouns, adjectives and phrases with the backbone's text tower."""
    params = read_params().words
    lexicon = wordnet.read(params.path)
    clip = backbone.load(paths.BACKBONE, machine.device())
    if not clip.has_text:
        raise UnsupportedModel(
            f"{paths.BACKBONE} is a bare image tower, which can encode no words; take a backbone with a text tower"
        )
    entries = words.choose(lexicon, params.limit, params.seed)
    phases = Phases()
    features = words.encode(entries, clip, StageProgress("sentences"), phases)
    words.write(paths.WORDS / words.FILE, features, clip.fingerprint)
    return {
        "counts": {"in": len(lexicon.nouns) + len(lexicon.adjectives), **Counter(features.kinds)},
        "seconds": phases.seconds(),
    }
