"""Detection metrics, their intervals and tests, calibration."""
