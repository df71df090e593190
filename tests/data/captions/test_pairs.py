from __future__ import annotations

import pytest

from clipn.data.captions.pairs import DroppedPairError, caption_text, summary


def test_a_caption_is_the_text_without_white_space_and_byte_order_mark() -> None:
    assert caption_text("\ufeff ein Käfer\n".encode()) == "ein Käfer"


@pytest.mark.parametrize(("content", "reason"), [(b"\xff\xfe", "unreadable_caption"), (b" \n", "empty")])
def test_what_is_no_caption_has_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(DroppedPairError, match=f"^{reason}$"):
        caption_text(content)


def test_reasons_in_words_begin_with_the_most_frequent_one() -> None:
    assert summary({"empty": 1, "without_caption": 3}) == "3 without caption, 1 empty"
    assert summary({}) == ""
