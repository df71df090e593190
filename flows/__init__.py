"""Prefect flows, one per DVC stage. Thin: read parameters, call `clipn`, write the stage's report."""

import os

from flows.runtime.server import logs

# Prefect's client, the hub's client and Ray report their use unless told not to before they are imported.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Threads that wait for each other shall sleep: where cores are shared, spinning makes small steps many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
logs.keep_to_the_point()
