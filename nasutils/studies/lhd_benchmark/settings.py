"""Tables of what is fixed before any run: policies, budgets, presets and protocols."""

from itertools import product
from typing import Any

import pandas as pd

from nasutils.spaces.lhd_policies import POLICIES
from nasutils.studies.lhd_benchmark.variants import BUDGETS, METHODS, budget

PRESETS = pd.DataFrame(
    [
        ("Random", "alpha ~ 0.1 N(0, 1), never trained", "the same"),
        ("DARTS", "alpha decays by 1e-3", "no decay of alpha"),
        ("MiLeNAS", "alpha decays by 1e-3", "no decay of alpha"),
        (
            "GAEA-bilevel",
            (
                "a simplex per node (and per output) is the mixing weight; a gate moves by its own"
                " log odds"
            ),
            (
                "every row is a simplex, gates included, with another softmax or sigmoid on top:"
                " almost uniform weights"
            ),
        ),
        (
            "GAEA-ERM",
            "as GAEA-bilevel, all training images for both",
            "as GAEA-bilevel, all training images for both",
        ),
        (
            "DrNAS",
            (
                "a Dirichlet draw per edge with a distance to the flat one, alpha rests for the"
                " first fifth; gates are sigmoids; its mean is discretized"
            ),
            (
                "no distance, no rest; gates drawn as a simplex but stored as sigmoids;"
                " discretized: softmax of alpha"
            ),
        ),
        (
            "GDAS",
            "one operation sampled per edge; alpha decays by 1e-3",
            (
                "one of all operations into a node; other edges count as the constant 1 in the"
                " gradient; no decay"
            ),
        ),
        (
            "PC-DARTS",
            (
                "edge weights (normalisation) that also weigh what goes around the operations;"
                " alpha decays by 1e-3"
            ),
            "no edge weights: what goes around is summed unweighted; no decay",
        ),
        ("SP-DARTS", "operations of weight exactly 0 are not run", "every operation is run"),
        ("DARTS-", "alpha decays by 1e-3", "no decay of alpha"),
        (
            "Beta-DARTS",
            "the penalty 0.5 e R on alpha acts; alpha decays by 1e-3",
            (
                "the penalty is detached and does nothing: DARTS with a smaller batch; cell types"
                " exchanged by name"
            ),
        ),
        (
            "SurgeNAS",
            "one identity per edge, inside every operation; alpha decays by 1e-3",
            "a strided identity runs once per operation, which its batch norm shows; no decay",
        ),
    ],
    columns=[
        "method",
        "published (as described; the default)",
        "released (what the authors' benchmark code does)",
    ],
)
"""What the two presets of the methods differ in on LHD. Source of `released`: chaoji90/LHD, the
folders of search/."""


TESTS = pd.DataFrame(
    [
        (
            "test images, CIFAR-100",
            "as they are",
            "cropped, flipped and cut out like training images",
        ),
        ("test images, CIFAR-10 and SVHN", "as they are", "as they are"),
        (
            "reported",
            "last epoch",
            "best of the tests after epochs 401 to 599, chosen on the test set",
        ),
        ("seeds of the evaluation", "varied", "0 for every run"),
    ],
    columns=["", "published", "released"],
)
"""How the two evaluation protocols differ. Source of `released`: chaoji90/LHD, the scripts in
eval/cifar10, eval/cifar100 and eval/svhn."""


def policy_table() -> pd.DataFrame:
    """A row per policy: what it keeps of a cell, and the size of the network at full scale."""
    rows = []
    for name, policy in POLICIES.items():
        rows.append(
            {
                "policy": name,
                "pairs kept of a node": policy.ops,
                "nodes of the sum": policy.outputs or "beta > 0.2",
                "nodes of the concat": policy.outputs or "gamma > mean",
                "cells": policy.cells,
                "channels": policy.channels,
                "widened to parameters": f"{policy.capacity:,}" if policy.capacity else "",
            }
        )
    return pd.DataFrame(rows)


def budget_table(**setting: Any) -> pd.DataFrame:
    """A row per method and budget: batch, rate, images, updates of weights and alpha,
    images passed in a search.

    setting: arguments of `lhd_benchmark.budget`.
    """
    columns = ["batch", "weight_lr", "weight_lr_end", "images", "epochs"]
    columns += ["updates", "alpha_updates", "passes"]
    rows = []
    for label, kind in product(METHODS, BUDGETS):
        b = budget(label, kind, **setting)
        rows.append((label, kind, *(getattr(b, column) for column in columns)))
    return pd.DataFrame(rows, columns=["method", "budget", *columns])
