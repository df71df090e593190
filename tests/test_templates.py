from __future__ import annotations

import pytest

from clipn import miniature, templates
from clipn.errors import InvalidParams


@pytest.mark.parametrize(("name", "count"), [("symbols", 9), ("openai_imagenet", 80), ("simple", 7)])
def test_every_template_takes_one_name(name: str, count: int) -> None:
    found = templates.load(name)
    assert len(found) == len(set(found)) == count
    assert all("umbrella" in template.format("umbrella") and template.count("{}") == 1 for template in found)


def test_an_unknown_set_lists_the_known() -> None:
    with pytest.raises(InvalidParams, match="known: symbols, openai_imagenet, simple"):
        templates.load("poems")


def test_symbol_templates_use_the_words_of_the_captions() -> None:
    words = {word for template in templates.load("symbols") for word in template.replace("{}", "").split()}
    spoken = {word for caption in miniature.CAPTIONS for word in caption.split() if "{" not in word}
    attributes = {*miniature.FOREGROUNDS, *miniature.BACKGROUNDS, *miniature.SIZES}
    assert words <= spoken | attributes
