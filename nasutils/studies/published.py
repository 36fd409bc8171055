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

S_SPACES = pd.DataFrame(
    [
        ("cifar10", "s1", "DARTS", 4.66, 0.71),
        ("cifar10", "s1", "DARTS-ES", 3.05, 0.07),
        ("cifar10", "s1", "DARTS-ADA", 3.03, 0.08),
        ("cifar10", "s2", "DARTS", 4.42, 0.40),
        ("cifar10", "s2", "DARTS-ES", 3.41, 0.14),
        ("cifar10", "s2", "DARTS-ADA", 3.59, 0.31),
        ("cifar10", "s3", "DARTS", 4.12, 0.85),
        ("cifar10", "s3", "DARTS-ES", 3.71, 1.14),
        ("cifar10", "s3", "DARTS-ADA", 2.99, 0.34),
        ("cifar10", "s4", "DARTS", 6.95, 0.18),
        ("cifar10", "s4", "DARTS-ES", 4.17, 0.21),
        ("cifar10", "s4", "DARTS-ADA", 3.89, 0.67),
        ("cifar100", "s1", "DARTS", 29.93, 0.41),
        ("cifar100", "s1", "DARTS-ES", 28.90, 0.81),
        ("cifar100", "s1", "DARTS-ADA", 24.94, 0.81),
        ("cifar100", "s2", "DARTS", 28.75, 0.92),
        ("cifar100", "s2", "DARTS-ES", 24.68, 1.43),
        ("cifar100", "s2", "DARTS-ADA", 26.88, 1.11),
        ("cifar100", "s3", "DARTS", 29.01, 0.24),
        ("cifar100", "s3", "DARTS-ES", 26.99, 1.79),
        ("cifar100", "s3", "DARTS-ADA", 24.55, 0.63),
        ("cifar100", "s4", "DARTS", 24.77, 1.51),
        ("cifar100", "s4", "DARTS-ES", 23.90, 2.01),
        ("cifar100", "s4", "DARTS-ADA", 23.66, 0.90),
        ("svhn", "s1", "DARTS", 9.88, 5.50),
        ("svhn", "s1", "DARTS-ES", 2.80, 0.09),
        ("svhn", "s1", "DARTS-ADA", 2.59, 0.07),
        ("svhn", "s2", "DARTS", 3.69, 0.12),
        ("svhn", "s2", "DARTS-ES", 2.68, 0.18),
        ("svhn", "s2", "DARTS-ADA", 2.79, 0.22),
        ("svhn", "s3", "DARTS", 4.00, 1.01),
        ("svhn", "s3", "DARTS-ES", 2.78, 0.29),
        ("svhn", "s3", "DARTS-ADA", 2.58, 0.07),
        ("svhn", "s4", "DARTS", 2.90, 0.02),
        ("svhn", "s4", "DARTS-ES", 2.55, 0.15),
        ("svhn", "s4", "DARTS-ADA", 2.52, 0.06),
    ],
    columns=["dataset", "space", "method", "error", "sd"],
)
"""Test error (%), mean and standard deviation of 3 searches: RobustDARTS as reprinted in ROME, Table 1."""

DARTS_SPACE = pd.DataFrame(
    [
        ("DARTS, first order", 3.00, 0.14, "DARTS-PT Table 2"),
        ("DARTS, first order, independent reruns", 3.38, 0.23, "ROME Table 2"),
        ("DARTS, second order", 2.76, 0.09, "DrNAS README"),
        ("SNAS", 2.85, 0.02, "DARTS-PT Table 2"),
        ("GDAS", 2.93, None, "DARTS-PT Table 2"),
        ("PC-DARTS", 2.57, 0.07, "DARTS-PT Table 2"),
        ("R-DARTS (L2)", 2.95, 0.21, "DARTS-PT Table 2"),
        ("SDARTS-RS", 2.67, 0.03, "DARTS-PT Table 2"),
        ("DARTS-PT", 2.61, 0.08, "DARTS-PT Table 2"),
        ("DrNAS", 2.46, 0.03, "DrNAS README"),
        ("DARTS-", 2.59, 0.08, "NASI Table 1"),
    ],
    columns=["method", "error", "sd", "source"],
)
"""CIFAR-10 test error (%) of cells found on the DARTS space; all from other papers' full protocol."""
