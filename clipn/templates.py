"""Sentences around a class name. The same sentences feed the yes and the no text encoder."""

from __future__ import annotations

from importlib import resources

from clipn.errors import InvalidParams

NAMES = ("symbols", "openai_imagenet", "simple")


def load(name: str) -> tuple[str, ...]:
    """The templates of a set; each holds one `{}` for the class name.

    `symbols` suits the miniature world, `openai_imagenet` are the 80 templates published with CLIP,
    `simple` the seven that CLIP's authors recommend when few are wanted.

    Raises:
        InvalidParams: no such set.
    """
    if name == "symbols":
        text = resources.files("clipn").joinpath("data/templates/symbols.txt").read_text(encoding="utf-8")
        return tuple(line for line in text.splitlines() if line)
    if name in NAMES:
        import open_clip  # imports torch, which readers of names alone need not wait for

        functions = {
            "openai_imagenet": open_clip.OPENAI_IMAGENET_TEMPLATES,
            "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        }[name]
        return tuple(function("{}") for function in functions)
    raise InvalidParams(f"unknown template set {name!r}; known: {', '.join(NAMES)}")
