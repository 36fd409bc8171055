"""Tables of `notebooks/bypass_leakage.ipynb` alone."""

import pandas as pd
import torch

from nasutils.studies.figures import toy_table

TOY_ALPHA = (0.0, 2e-3, 1e-3, 0.0, -1e-3)
TOY_OUTPUT = (0.0, 1.0, 0.6, 0.9, 0.5)
"""One edge that can be followed by hand: alpha, and what each of five operations puts out."""


def toy(temperature: float) -> pd.DataFrame:
    """One edge that should put out 1, with loss (sum of p_k o_k - 1)^2:
    weights, gradient, and both interventions.

    formula and autograd: the gradient in alpha. cut, only: change of the loss without the
    operation, and with nothing but it; bypass: |only| / (|cut| + |only|).
    """
    alpha = torch.tensor(TOY_ALPHA, dtype=torch.float64, requires_grad=True)
    output = torch.tensor(TOY_OUTPUT, dtype=torch.float64)
    p = torch.softmax(alpha / temperature, 0)
    error = p @ output - 1
    g = 2 * error * output  # dL/dp
    (by_autograd,) = torch.autograd.grad(error**2, alpha, retain_graph=True)
    cut = (error - p * output) ** 2 - error**2
    only = (p * output - 1) ** 2 - error**2
    return toy_table(
        {
            "alpha": alpha,
            "puts out": output,
            "p": p,
            "formula": p * (g - p @ g) / temperature,
            "autograd": by_autograd,
            "cut": cut,
            "only": only,
            "bypass": only.abs() / (cut.abs() + only.abs()),
        }
    )
