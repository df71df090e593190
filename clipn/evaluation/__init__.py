"""Evaluate scores on benchmarks: measures, overlap, attacks, robustness, the gate."""
