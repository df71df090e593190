"""The stages: each module holds the flow of the stage of its name in the stage graph, as `run`."""

import pkgutil

STAGES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
"""Their names."""
