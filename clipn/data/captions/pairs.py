"""What pairs in tars and pairs in a folder share: the text of a caption, and reasons to leave a pair out."""

from __future__ import annotations

from collections.abc import Mapping


class DroppedPairError(Exception):
    """A pair cannot be used; the message is the reason, under which the stage's report counts it."""


def caption_text(content: bytes) -> str:
    """Return the caption that a text file holds, without white space around it.

    Raises:
        DroppedPairError: it is no UTF-8, or empty.
    """
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DroppedPairError("unreadable_caption") from error
    if not text:
        raise DroppedPairError("empty")
    return text


def summary(dropped: Mapping[str, int]) -> str:
    """Return the numbers of dropped pairs in words, the most frequent reason first: `3 without caption, 1 empty`."""
    by_count = sorted(dropped.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in by_count)
