"""What stands above all sections: the terms of the field, each spelled out once."""

PARAGRAPHS = (
    "How well scores tell images of known classes (in-distribution, ID) from images of other classes "
    "(out-of-distribution, OOD).",
    "AUROC is the area under the ROC curve: the true positive rate (TPR, the share of ID images that are kept) over "
    "the false positive rate (FPR, the share of OOD images that are kept). 50 % is chance, and higher is better. FPR95 "
    "is the false positive rate at a true positive rate of 95 %; lower is better.",
    'CLIPN has two ways to decide with its "No" text encoder: competing-to-win (CTW) and agreeing-to-differ (ATD).',
)
