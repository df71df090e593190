"""What `import clipn` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import resources

import pytest

import clipn
from tests.conftest import ROOT


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert clipn.__version__ == project["version"]


def test_names_are_handed_on() -> None:
    for name in clipn.__all__:
        assert getattr(clipn, name)
    with pytest.raises(AttributeError, match="module 'clipn' has no attribute 'Detectors'"):
        _ = clipn.Detectors


def test_the_import_loads_nothing_else() -> None:
    code = "import sys, clipn; print(*(set(sys.modules) & {'torch', 'numpy', 'pyarrow', 'scipy', 'typer'}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_types_are_there_for_others() -> None:
    assert resources.files("clipn").joinpath("py.typed").is_file()
