"""The log of a training run: one CSV row a step, which grows while training goes on and is watched meanwhile."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType

from clipn.errors import InvalidData, InvalidParams, MissingInput
from clipn.utils.files import atomic_path


@dataclass(frozen=True)
class Step:
    """What one step did."""

    step: int
    """From 0."""
    epoch: int
    """From 0."""
    loss_yes: float
    loss_no: float
    loss_tso: float
    loss: float
    grad_norm: float
    lr: float
    logit_scale: float
    samples_per_second: float
    auroc_ctw: float | None
    """AUROC of the held-out check as a fraction; None in steps that do not measure it."""
    auroc_atd: float | None


NAMES = tuple(field.name for field in fields(Step))
HEADER = ",".join(NAMES)
_PARSERS = tuple({"int": int, "float": float, "float | None": float}[str(field.type)] for field in fields(Step))
_MAY_BE_EMPTY = tuple(str(field.type).endswith("None") for field in fields(Step))


def per_epoch(pairs: int, batch_size: int) -> int:
    """Return the steps of an epoch: its full batches. The rest of the epoch's shuffle is left out.

    Raises:
        InvalidParams: not even one batch.
    """
    if pairs < batch_size:
        raise InvalidParams(
            f"train.batch_size is {batch_size}, but there are only {pairs} training pairs; "
            "lower it or take more captions"
        )
    return pairs // batch_size


class StepLog:
    """Appends steps to `path`.

    The file is made anew, so that a reader sees that it is another one.

    Args:
        path: of the CSV file.
        start: first step of this run. Of an earlier file the steps before it are kept, so that a resumed
            run goes on where its checkpoint was made; 0 keeps nothing.

    Raises:
        InvalidData: the earlier file is damaged before `start`.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        kept = [step for step in tail(path).steps if step.step < start] if start else []
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{row}\n" for row in (HEADER, *map(_row, kept))), encoding="utf-8")
        self._handle = path.open("a", encoding="utf-8")

    def append(self, step: Step) -> None:
        """Write a row at full precision; it can be read when this returns."""
        self._handle.write(f"{_row(step)}\n")
        self._handle.flush()

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> StepLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Position:
    """How far a growing log was read."""

    file: int | None = None
    """Inode, which tells a new file of the same name from the old one."""
    offset: int = 0
    """Bytes."""
    line: int = 0
    step: int = -1


@dataclass(frozen=True)
class NewRows:
    """New rows of a log."""

    steps: list[Step]
    place: Position
    anew: bool
    """Whether the log is another file than at the last read, or shorter: rows read before are void."""


def end(path: Path) -> Position:
    """Return the position at the end of the log. `tail` from here returns later rows alone, or all of a new file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return Position()
    return Position(status.st_ino, status.st_size)


def read(path: Path) -> list[Step]:
    """Read all steps of a log; a torn last line is left out.

    Raises:
        MissingInput: there is no such file.
        InvalidData: the file holds something else; names the line.
    """
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; it is written while training runs")
    return tail(path).steps


def tail(path: Path, place: Position = Position()) -> NewRows:
    """Read the complete rows after `place`; none while the file does not exist.

    Raises:
        InvalidData: a complete line is no row of a log; names it.
    """
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return NewRows([], Position(), anew=place.offset > 0)
    with handle:
        status = os.fstat(handle.fileno())
        anew = place.file is not None and (status.st_ino != place.file or status.st_size < place.offset)
        if anew:
            place = Position()
        handle.seek(place.offset)
        content = handle.read()
    complete = content[: content.rfind(b"\n") + 1]
    steps: list[Step] = []
    number, last = place.line, place.step
    for number, line in enumerate(complete.split(b"\n")[:-1], place.line + 1):
        text = line.decode("utf-8", errors="replace")
        if number == 1:
            if text != HEADER:
                raise InvalidData(
                    f"{path} is no log of training steps: line 1 is {text[:80]!r}, not {HEADER!r}; "
                    "delete the file to go on without it"
                )
            continue
        step = _parse(text, path, number)
        if step.step <= last:
            raise InvalidData(
                f"{path}: line {number} holds step {step.step} after step {last}; delete the file to go on without it"
            )
        steps.append(step)
        last = step.step
    return NewRows(steps, Position(status.st_ino, place.offset + len(complete), number, last), anew)


def _row(step: Step) -> str:
    # float() first: numpy's numbers have another repr.
    return ",".join(
        "" if value is None else repr(parse(value)) for parse, value in zip(_PARSERS, astuple(step), strict=True)
    )


def _parse(text: str, path: Path, number: int) -> Step:
    try:
        values = [
            None if empty and not word else parse(word)
            for parse, empty, word in zip(_PARSERS, _MAY_BE_EMPTY, text.split(","), strict=True)
        ]
    except ValueError as error:
        raise InvalidData(
            f"{path}: line {number} is no training step ({error}): {text[:80]!r}; delete the file to go on without it"
        ) from error
    return Step(*values)  # type: ignore[arg-type]  # checked by their parsers
