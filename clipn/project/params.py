"""Read and check `params.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from clipn.config import Params
from clipn.errors import InvalidParams, MissingInput
from clipn.project import checks

_PARAMS = TypeAdapter(Params)


def parse_params(values: dict[str, Any], origin: str = "params") -> Params:
    """Check `values` and turn them into `Params`.

    Raises:
        InvalidParams: with every problem found, not only the first.
    """
    try:
        params = _PARAMS.validate_python(values)
    except ValidationError as error:
        problems = [_describe(e) for e in error.errors()]
    else:
        problems = checks.contradictions(params)
    if problems:
        raise InvalidParams(f"{origin} has {len(problems)} problem(s):\n" + "\n".join(f"  - {p}" for p in problems))
    return params


def read_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        MissingInput: there is no such file.
        InvalidParams: it is no YAML mapping, or its content is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInput(f"{path} does not exist; run in the project's root, or write it with 'clipn profile NAME'")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidParams(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InvalidParams(f"{path} has to hold a mapping of sections, not {type(values).__name__}")
    return parse_params(values, str(path))


def _describe(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"{where}: unknown parameter; remove it or correct its name"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: is missing"
    value = repr(error["input"])
    return f"{where}: {error['msg']} (it is {value if len(value) <= 80 else value[:77] + '...'})"
