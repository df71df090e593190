"""One process with Prefect loaded that serves all stages of a `dvc` command."""
