"""Evaluation sets and benchmarks: their registry, archives and readers."""
