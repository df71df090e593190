"""Detection metrics, their intervals and tests, calibration."""

from clipn.metrics.detection import CONVENTIONS, accuracy, auroc, fpr95_key, fpr_at_tpr, measures

__all__ = ["CONVENTIONS", "accuracy", "auroc", "fpr95_key", "fpr_at_tpr", "measures"]
