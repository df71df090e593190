"""What a part of the report is: it reads its results, and gives sections, plot data and metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from clipn.config import Params
from clipn.report.render.document import Section
from clipn.report.render.plots import Style


class Part(ABC):
    """Base of the parts that `clipn.report` puts together. What a part has none of, it leaves as it is here."""

    KEY: ClassVar[str] = ""
    """Key of its metrics in `reports/metrics.json`."""

    @classmethod
    @abstractmethod
    def read(cls, root: Path, params: Params) -> Self:
        """Read the results that the parameters ask for from the files under `root`.

        Raises:
            ClipnError: a file is missing, damaged or of something else.
        """

    @abstractmethod
    def sections(self, styles: Mapping[str, Style]) -> list[Section]:
        """Lay out what is shown, within `plots.themed()`.

        Args:
            styles: of all methods in `drawn`.
        """

    def drawn(self) -> dict[str, bool]:
        """Return the methods that are drawn, and of each whether it uses the "No" text encoder."""
        return {}

    def plot_data(self) -> dict[str, str]:
        """Return the CSV behind the plots: file below `reports/plots` → its text."""
        return {}

    def metrics(self) -> dict[str, Any]:
        """Return what `dvc metrics` shows."""
        return {}

    def benchmarks(self) -> list[str]:
        """Return the names of the benchmarks that were measured."""
        return []

    def stages(self) -> list[str]:
        """Return the names of the stages that measured them, in their order."""
        return []
