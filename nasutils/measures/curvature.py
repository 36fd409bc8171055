"""The largest eigenvalue of the Hessian of a loss in the architecture parameters alpha.

Its growth is a sign of collapse in RobustDARTS (Zela et al., ICLR 2020). Exact products with the
Hessian, and Lanczos.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nasutils.methods import relax
from nasutils.spaces.base import Mix

LossOfMix = Callable[[Mix], Tensor]
"""Mean cross entropy (nats) of a supernet under mixing weights."""


def curvature(loss: LossOfMix, mix: Mix, temperature: float = 1.0) -> float:
    """The largest eigenvalue of the Hessian in alpha, of all cell types together,
    where mix = softmax(alpha / T).

    alpha is read off mix, so any method's weights have one; the Hessian does not depend on what a
    row of alpha may be shifted by. Weights of an edge that do not sum to 1 keep their sum.
    """
    sums = {}
    alphas = {}
    for cell_type, weights in mix.items():
        sums[cell_type] = weights.sum(dim=-1, keepdim=True)
        alphas[cell_type] = (temperature * weights.log()).where(sums[cell_type] > 0, 0.0)

    def of_alpha(alphas: Mapping[str, Tensor]) -> Tensor:
        weights = {}
        for cell_type, alpha in alphas.items():
            weights[cell_type] = sums[cell_type] * relax.softmax(alpha, temperature)
        return loss(weights)

    return largest_eigenvalue(*hessian_product(of_alpha, alphas))


def hessian_product(
    loss: Callable[[Mapping[str, Tensor]], Tensor], alphas: Mapping[str, Tensor]
) -> tuple[Callable[[Tensor], Tensor], int]:
    """v -> H v with the exact Hessian H of loss(alphas), and the size n of v.

    v: (n,) float64, the alphas one after another.
    """
    leaves = {cell_type: a.detach().clone().requires_grad_() for cell_type, a in alphas.items()}
    with torch.enable_grad():
        parts = torch.autograd.grad(
            loss(leaves), list(leaves.values()), create_graph=True, materialize_grads=True
        )
        gradient = torch.cat([g.flatten() for g in parts])

    def product(v: Tensor) -> Tensor:
        if not gradient.requires_grad:  # a loss without curvature
            return torch.zeros_like(v)
        rows = torch.autograd.grad(
            gradient,
            list(leaves.values()),
            v.to(gradient),
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([r.flatten() for r in rows]).to(v)

    return product, len(gradient)


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], size: int, *, steps: int = 20, tolerance: float = 3e-3
) -> float:
    """The algebraically largest eigenvalue of a symmetric matrix, not the largest by magnitude.

    product: v -> matrix @ v, both (size,).
    Lanczos from a fixed random vector, fully reorthogonalised; ends after `steps` products or
    where the error bound of the value is below the tolerance, relative to the largest magnitude
    found. Never above the true one.
    """
    generator = torch.Generator().manual_seed(0)
    v = F.normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=0)
    basis = torch.zeros(0, size, dtype=torch.float64)
    small = torch.zeros(steps + 1, steps + 1, dtype=torch.float64)  # the matrix in that basis
    for n in range(1, min(steps, size) + 1):
        basis = torch.cat([basis, v[None]])
        w = product(v)
        small[n - 1, n - 1] = v @ w
        for _ in range(2):  # once is not enough when v is nearly an eigenvector
            w = w - basis.T @ (basis @ w)
        length = w.norm()
        values, vectors = torch.linalg.eigh(small[:n, :n])
        bound = length * vectors[-1, -1].abs()
        if bound <= tolerance * values.abs().max():
            break
        small[n - 1, n] = small[n, n - 1] = length
        v = w / length
    return float(values[-1])
