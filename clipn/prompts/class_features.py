"""Text features of a set of classes, which every score of class names compares images with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from clipn.features.encode import encode_texts
from clipn.models.backbone import Backbone
from clipn.models.no_encoder import NoEncoderConfig, NoTextEncoder
from clipn.prompts import templates
from clipn.scores import Evidence
from clipn.scores.word_features import WordFeatures
from clipn.utils.arrays import Array, unit_norm


@dataclass(frozen=True)
class Sentences:
    """Templates with one `{}` for a class name: `yes` for the "yes" text encoder, `no` for the "No" one."""

    yes: tuple[str, ...]
    no: tuple[str, ...]


def sentences(config: NoEncoderConfig, template_set: str) -> Sentences:
    """Return the sentences in which class names are given to a trained model.

    Learned prompts do the negation themselves, so that both encoders take the templates of
    `template_set`. A model of the hand-crafted variant takes the pairs that it was trained with,
    whatever `template_set` is.

    Raises:
        InvalidParams: no such set.
    """
    if config.variant == "handcrafted":
        pairs = templates.load_paired(str(config.paired_templates))
        return Sentences(tuple(pair.yes for pair in pairs), tuple(pair.no for pair in pairs))
    return plain_sentences(template_set)


def plain_sentences(template_set: str) -> Sentences:
    """Return the templates of a set, for both encoders alike.

    Raises:
        InvalidParams: no such set.
    """
    loaded = templates.load(template_set)
    return Sentences(loaded, loaded)


def class_evidence(
    clip: Backbone,
    no: NoTextEncoder | None,
    names: Sequence[str],
    sentences: Sentences,
    logit_scale: float | None,
) -> Evidence:
    """Return the "yes" and "no" features of classes.

    Args:
        clip: the backbone; of one without a text tower there are no such features.
        no: a "No" text encoder that was trained with it, on the same device; None leaves "no" out.
        names: C class names.
        sentences: what `sentences` gives for this model.
        logit_scale: factor on cosine similarities; None takes the backbone's own, and the one that was
            trained with the "No" text encoder, if one was, where "yes" is compared with "no".
    """
    scale = clip.logit_scale if logit_scale is None else logit_scale
    if not clip.has_text:
        return Evidence(None, logit_scale=scale, device=str(clip.device))
    tokens = class_tokens(clip.tokenize, names, sentences.yes)
    yes = class_features(clip.text, tokens)
    if no is None:
        return Evidence(yes, logit_scale=scale, device=str(clip.device))
    no_tokens = tokens if sentences.no == sentences.yes else class_tokens(clip.tokenize, names, sentences.no)
    return Evidence(
        yes=yes,
        no=class_features(no, no_tokens),
        logit_scale=scale,
        no_logit_scale=no.logit_scale if logit_scale is None else None,
        device=str(clip.device),
    )


def with_words(evidence: Evidence, words: WordFeatures, classes: Sequence[str]) -> Evidence:
    """Return `evidence` with a word list, without its entries that name a class.

    A word that names a class is no negative label, however far it is from the other classes.
    """
    return replace(evidence, words=words.without(classes))


def class_tokens(tokenize: Callable[[Sequence[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return token ids [C, T, context length] of C class names in T templates."""
    texts = [template.format(name) for name in names for template in templates]
    return tokenize(texts).view(len(names), len(templates), -1)


def class_features(encode: Callable[[Tensor], Tensor], tokens: Tensor) -> Array:
    """Return one unit-norm feature per class [C, D]: the renormalised mean over templates of unit-norm features.

    Args:
        encode: token ids → unit-norm features; the "yes" or the "No" text encoder.
        tokens: what `class_tokens` gives [C, T, context length].
    """
    features = encode_texts(encode, tokens.flatten(0, 1)).reshape(*tokens.shape[:2], -1)
    return unit_norm(features.mean(axis=1))
