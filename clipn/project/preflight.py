"""Checks of everything that can be wrong before long work starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from clipn import paths
from clipn.config import Params
from clipn.data.captions.prepare import check_captions
from clipn.data.download.download import check as check_download
from clipn.data.sets.prepare import check_set
from clipn.errors import ClipnError, InvalidParams, MissingInput


def check(params: Params) -> None:
    """Check every input that `params` names.

    Raises:
        InvalidParams: with all problems.
    """
    checks: list[Callable[[], object]] = [
        partial(check_captions, params.captions),
        partial(check_download, params.download),
    ]
    if params.captions.images != params.captions.path:
        checks.append(partial(_photographs, params.captions.images))
    checks += [partial(check_set, name, options) for name, options in params.sets.items()]
    checks.append(partial(_word_list, params.words.path))
    for options in (params.backbone, *params.study.backbones.values()):
        # The stage `backbone` makes this folder, which the feature study may take up.
        if options.source == "local" and Path(options.path) != paths.BACKBONE:
            from clipn.models import backbone  # imports torch, which only this source needs here

            checks.append(partial(backbone.check_folder, options.path))
    checks += [partial(imported_model, name) for name in params.evaluate.imported]
    problems = []
    for run in checks:
        try:
            run()
        except ClipnError as error:
            problems.append(str(error))
    if problems:
        raise InvalidParams(
            f"{len(problems)} problem(s) found before any work:\n" + "\n".join(f"  - {p}" for p in problems)
        )


def _photographs(path: str) -> None:
    if not Path(path).exists():
        raise MissingInput(f"captions.images: {path} does not exist; name the folder of the photographs")


def _word_list(path: str) -> None:
    if not Path(path).is_file():
        raise MissingInput(f"words.path: {path} does not exist; name a TSV with the columns kind and word")


def imported_model(name: str) -> Path:
    """Return the folder of a model in `evaluate.imported`.

    Raises:
        MissingInput: there is none.
    """
    folder = paths.IMPORTED / name
    if not folder.is_dir():
        raise MissingInput(
            f"evaluate.imported: {folder} does not exist; take the model over with 'clipn import-checkpoint FILE "
            f"{name}', or take {name} out of the list"
        )
    return folder
