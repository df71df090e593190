"""A project that is ready for scoring, as flows take it too."""

from tests.scored_project import scored_project

__all__ = ["scored_project"]
