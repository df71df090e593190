"""How a result becomes a JSON file, and how it is read again and checked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from clipn.config import BenchmarkParams
from clipn.errors import InvalidData, NonFinite
from clipn.utils.files import read_json, write_json

# A sum of shares may end a rounding error above 1.
Fraction = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9)]
Count = Annotated[int, Field(ge=0)]


class Result:
    """Base of the dataclasses in this package.

    A constructor takes lists for tuples and dictionaries for the dataclasses inside, and checks every value. A file
    has to hold the exact types. A field with a default is left out of the file while it has that default.
    """

    KIND: ClassVar[str]
    """What messages call a file of this kind."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            MissingInput: the file does not exist.
            InvalidData: it is no JSON, or a field is missing, of another type or out of range.
            NonFinite: a value is NaN or infinite.
        """
        values = read_json(path)
        refuse_non_finite(values, path)
        try:
            return TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            raise InvalidData(f"{path} is no file of {cls.KIND}: {problems(error)}; run 'dvc repro'") from error

    def write(self, path: Path) -> None:
        """Write the result as JSON with sorted keys."""
        write_json(path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        values: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, exclude_defaults=True)
        return values


@dataclass(frozen=True)
class OfBenchmark(Result):
    """Base of the results on the sets of one benchmark."""

    benchmark: str
    id: str
    ood: tuple[str, ...]

    @classmethod
    def read_of(cls, path: Path, name: str, sets: BenchmarkParams) -> Self:
        """Read the result on the benchmark `name`, which has these sets.

        Raises:
            MissingInput: the file does not exist.
            InvalidData: as `read`, or the file is of other sets, or its parts contradict each other.
            NonFinite: a value is NaN or infinite.
        """
        result = cls.read(path)
        result.require(str(path), name, sets)
        return result

    def require(self, where: str, name: str, sets: BenchmarkParams) -> None:
        """Raise unless this is a sound result on the benchmark `name`, which has these sets.

        Args:
            where: file, and place in it, for messages.
            name: of the benchmark.
            sets: of the benchmark.

        Raises:
            InvalidData: it is of other sets, or its parts contradict each other.
        """
        expected, actual = (name, sets.id, tuple(sets.ood)), (self.benchmark, self.id, self.ood)
        if actual != expected:
            raise InvalidData(
                f"{where} is of (benchmark, ID, OOD) {actual}, not {expected}, so it is of other sets than benchmark "
                f"{name!r}; run 'dvc repro'"
            )
        if contradiction := self.contradiction():
            raise InvalidData(f"{where}: {contradiction}; run 'dvc repro'")

    def contradiction(self) -> str | None:
        """Return which of the parts do not fit together; None if all do."""
        return None


def refuse_non_finite(value: Any, path: Path, field: str = "") -> None:
    """Raise if nested dictionaries and lists hold a NaN or an infinity.

    Raises:
        NonFinite: naming file and field.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise NonFinite(f"{path}: {field} is {value}; look into the stage that wrote it and rerun it")
    nested = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in nested:
        refuse_non_finite(item, path, f"{field}.{key}" if field else str(key))


def problems(error: ValidationError) -> str:
    """Return what is wrong with the content of a file, field by field."""
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
