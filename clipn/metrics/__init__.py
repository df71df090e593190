"""Detection metrics, their intervals and tests, calibration."""

from clipn.metrics.detection import CONVENTIONS, accuracy, aupr_in, aupr_out, auroc, fpr95_key, fpr_at_tpr, measures

__all__ = ["CONVENTIONS", "accuracy", "aupr_in", "aupr_out", "auroc", "fpr95_key", "fpr_at_tpr", "measures"]
