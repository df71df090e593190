"""Everything that can be found wrong before long work starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from clipn.config import Params
from clipn.data.captions.prepare import check_captions
from clipn.data.download import download
from clipn.data.sets.prepare import check_set
from clipn.errors import ClipnError, InvalidParams, MissingInput

MADE_BACKBONE = Path("data/backbone")
"""What the stage `backbone` makes, and the feature study may take up."""
IMPORTED = Path("models/imported")
"""Where `clipn import-checkpoint` puts models unless told otherwise."""


def check(params: Params) -> None:
    """Look at every input that `params` names.

    Raises:
        InvalidParams: with all problems found.
    """
    checks: list[Callable[[], object]] = [
        partial(check_captions, params.captions),
        partial(download.check, params.download),
    ]
    checks += [partial(check_set, name, options) for name, options in params.sets.items()]
    checks.append(partial(_word_list, params.words.path))
    for options in (params.backbone, *params.study.backbones.values()):
        # What an earlier stage makes is not there yet.
        if options.source == "local" and Path(options.path) != MADE_BACKBONE:
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


def _word_list(path: str) -> None:
    if not Path(path).is_file():
        raise MissingInput(f"words.path: {path} does not exist; name a TSV with the columns kind and word")


def imported_model(name: str) -> Path:
    """The folder of a model in `evaluate.imported`.

    Raises:
        MissingInput: there is none.
    """
    folder = IMPORTED / name
    if not folder.is_dir():
        raise MissingInput(
            f"evaluate.imported: {folder} does not exist; take the model over with 'clipn import-checkpoint FILE "
            f"{name}', or take {name} out of the list"
        )
    return folder
