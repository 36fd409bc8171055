"""Published NAS-Bench-201 accuracies of other methods, to stand beside ours and marked as what they are."""

import pandas as pd

NASBENCH201 = pd.DataFrame(
    [
        ("DARTS (searched on CIFAR-10)", 54.30, 15.61, 16.32, "NAS-Bench-201 paper's table, as quoted by ReLIZO"),
        ("RSPS", 84.07, 52.31, 26.28, "NAS-Bench-201 paper's table, as quoted by ReLIZO"),
        ("SETN", 87.64, 59.05, 32.52, "NAS-Bench-201 paper's table, as quoted by ReLIZO"),
        ("GDAS", 93.61, 70.70, 41.71, "NAS-Bench-201 paper's table, as quoted by ReLIZO"),
        ("SNAS", 92.77, 69.34, 43.16, "EEEA-Net Table 9; GENIUS Table 1"),
        ("PC-DARTS", 93.41, 67.48, 41.31, "EEEA-Net Table 9; GENIUS Table 1"),
        ("iDARTS", 93.58, 70.83, 40.89, "GENIUS Table 1"),
        ("DARTS-", 93.80, 71.53, 45.12, "paperswithcode page of DARTS-"),
        ("DrNAS, beta-DARTS", 94.36, 73.51, 46.34, "GENIUS Table 1; DrNAS README"),
        ("ResNet", 93.97, 70.86, 43.63, "EEEA-Net Table 9"),
        ("optimum", 94.37, 73.51, 47.31, "EEEA-Net Table 9; DrNAS README"),
    ],
    columns=["method", "cifar10", "cifar100", "imagenet16-120", "source"],
)
"""Test accuracy (%) of the searched cells; all from other papers' full protocol, none computed here."""
