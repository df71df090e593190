"""Prefect flows, one per DVC stage. Thin: read parameters, call `clipn`, write the stage's report."""

import os

# Prefect's client reports its use unless this is set before it is imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
