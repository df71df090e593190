"""Choose and start a Prefect server."""
