from __future__ import annotations

import pytest

from clipn.report.render import markdown, page
from clipn.report.sections.introduction import PARAGRAPHS


@pytest.mark.parametrize(
    "words",
    [
        "in-distribution, ID",
        "out-of-distribution, OOD",
        "true positive rate (TPR",
        "FPR95 is the false positive rate at a true positive rate of 95 %",
        "competing-to-win (CTW)",
        "agreeing-to-differ (ATD)",
    ],
)
def test_terms_are_spelled_out_before_any_section(words: str) -> None:
    for text in (markdown.render("Title", (), PARAGRAPHS), page.render("Title", (), PARAGRAPHS)):
        assert words in text
