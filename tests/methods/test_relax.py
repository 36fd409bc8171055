"""Mixing weights, their gradients and entropies:
against the authors' released code and finite differences.

Run: pytest tests/methods/test_relax.py
"""

import json
from pathlib import Path

import pytest
import torch

from nasutils.methods import relax

TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "relaxation.json").read_text())
CASES = TRUTH["relaxation"]["cases"]
TEMPERATURES = [case["T"] for case in CASES]
CELLS = {"normal": 0.3, "reduce": 1.1}
"""Cell type -> phase of its alpha in the truth."""


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(actual, expected, digits=9):
    torch.testing.assert_close(actual, tensor(expected), rtol=10.0 ** (1 - digits), atol=1e-12)


def grid(rows, columns):
    counts = [torch.arange(1, n + 1, dtype=torch.float64) for n in (rows, columns)]
    return torch.meshgrid(*counts, indexing="ij")


def alpha_of(cell):
    """The truth's alpha, exact: the file holds nine digits of it."""
    r, c = grid(2, 7)
    return (1e-3 * torch.sin(1.7 * r * c + CELLS[cell])).requires_grad_()


def g_of(cell):
    r, c = grid(2, 7)
    return 0.5 * torch.cos(0.9 * r + 1.3 * c + {"normal": 0, "reduce": 2}[cell])


def gradient(function, alpha, g):
    return torch.autograd.grad((g * function(alpha)).sum(), alpha)[0]


def slope(function, x, step):
    """Central differences of a scalar function of x."""
    found = torch.empty_like(x)
    for i in range(x.numel()):
        ahead, behind = x.clone(), x.clone()
        ahead.view(-1)[i] += step
        behind.view(-1)[i] -= step
        found.view(-1)[i] = (function(ahead) - function(behind)) / (2 * step)
    return found


def test_the_inputs_are_the_truths():
    for cell in CELLS:
        close(alpha_of(cell).detach(), TRUTH["relaxation"][f"alpha_{cell}"])
        close(g_of(cell), TRUTH["relaxation"][f"g_{cell}"])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("case", CASES, ids=TEMPERATURES)
def test_weights_at_every_temperature(case, cell):
    for function in (relax.softmax, relax.sparse_noisy_softmax):
        close(function(alpha_of(cell), case["T"]).detach(), case[f"p_{cell}"])


@pytest.mark.parametrize("case", CASES, ids=TEMPERATURES)
def test_entropy_at_every_temperature(case):
    entropy = relax.entropy(relax.softmax(alpha_of("normal"), case["T"])).detach()
    close(entropy, case["entropy_per_edge_normal"])
    close(entropy.sum(), case["entropy_sum_normal"])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("case", CASES, ids=TEMPERATURES)
def test_plain_gradient_at_every_temperature(case, cell):
    found = gradient(lambda a: relax.softmax(a, case["T"]), alpha_of(cell), g_of(cell))
    torch.testing.assert_close(
        found, tensor(case[f"grad_{cell}_plain_softmax"]), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("case", CASES, ids=TEMPERATURES)
def test_sparse_noisy_gradient_at_every_temperature(case):
    found = gradient(
        lambda a: relax.sparse_noisy_softmax(a, case["T"]), alpha_of("normal"), g_of("normal")
    )
    torch.testing.assert_close(
        found, tensor(case["grad_normal_sparse_noisy"]), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("temperature", [1.0, 0.01, 1e-3, 3e-4])
def test_plain_gradient_is_the_slope(temperature):
    alpha, g = alpha_of("normal"), g_of("normal")
    expected = slope(
        lambda a: (g * relax.softmax(a, temperature)).sum(), alpha.detach(), 1e-5 * temperature
    )
    found = gradient(lambda a: relax.softmax(a, temperature), alpha, g)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 / temperature)
    torch.testing.assert_close(
        relax.softmax_gradient(relax.softmax(alpha, temperature), g, temperature),
        found,
        rtol=1e-12,
        atol=1e-12,
    )


def test_sparse_noisy_gradient_is_the_sum_of_two_slopes():
    alpha, g = alpha_of("normal"), g_of("normal")
    slopes = [
        slope(lambda a, t=t: (g * relax.softmax(a, t)).sum(), alpha.detach(), 1e-5 * t)
        for t in (1e-3, 1.0)
    ]
    found = gradient(lambda a: relax.sparse_noisy_softmax(a, 1e-3), alpha, g)
    torch.testing.assert_close(found, slopes[0] + slopes[1], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 1.0 + 1e-10, 1.0 - 1e-10])
def test_sparse_noisy_is_plain_at_temperature_one(temperature):
    alpha, g = alpha_of("normal"), g_of("normal")
    plain = gradient(lambda a: relax.softmax(a, temperature), alpha, g)
    noisy = gradient(lambda a: relax.sparse_noisy_softmax(a, temperature), alpha, g)
    assert torch.equal(noisy, plain)


def test_sparse_noisy_gradient_outlives_saturation():
    alpha = tensor([[1.0, 0.0, -1.0]]).requires_grad_()
    g = tensor([[0.3, -0.2, 0.5]])
    assert not gradient(lambda a: relax.softmax(a, 1e-3), alpha, g).any()
    at_one = gradient(lambda a: relax.softmax(a, 1.0), alpha, g)
    noisy = gradient(lambda a: relax.sparse_noisy_softmax(a, 1e-3), alpha, g)
    torch.testing.assert_close(noisy, at_one, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_below_the_normal_numbers_are_exactly_zero(dtype):
    tiny = torch.finfo(dtype).tiny
    logits = torch.log(torch.tensor([1.0, 4 * tiny, tiny / 4], dtype=dtype))
    p = relax.softmax(logits, 1.0)
    assert p[1] > 0 and p[2] == 0
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=dtype))


def test_a_zero_weight_has_zero_gradient_and_does_not_change_the_others():
    alpha, g = tensor([[0.0, 1e-3, -1.0]]).requires_grad_(), tensor([[0.4, -0.7, 1e6]])
    found = gradient(lambda a: relax.softmax(a, 1e-3), alpha, g)
    assert found[0, 2] == 0
    without = gradient(lambda a: relax.softmax(a[:, :2], 1e-3), alpha, g[:, :2])
    torch.testing.assert_close(found, without, rtol=1e-12, atol=0.0)


def test_large_ratios_do_not_overflow():
    p = relax.softmax(torch.tensor([[3.0, 0.0, -3.0]]), 1e-4)
    assert p.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, -1e-3, float("nan")])
@pytest.mark.parametrize(
    "function", [relax.softmax, relax.sparse_noisy_softmax, relax.double_softmax]
)
def test_a_temperature_that_is_not_positive_is_refused(function, temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        function(torch.zeros(1, 2), temperature)


@pytest.mark.parametrize(
    "case", TRUTH["s1_s4_double_softmax"], ids=lambda c: f"{c['edge'][:2]}-{c['T']}"
)
def test_double_softmax_of_s1_to_s4(case):
    alpha = alpha_of("normal").detach()[:1, : len(case["alpha"][0])]
    close(relax.softmax(alpha, case["T"]), case["alpha_step_weights"], digits=8)
    close(relax.double_softmax(alpha, case["T"]), case["weight_step_weights_double_softmax"])


def test_double_softmax_is_a_softmax_at_as_many_times_the_temperature_as_there_are_operations():
    alpha = alpha_of("normal").detach()
    torch.testing.assert_close(
        relax.double_softmax(alpha, 3e-3), relax.softmax(alpha, 7 * 3e-3), rtol=1e-3, atol=0.0
    )


def test_one_hot_takes_the_first_of_equals():
    found = relax.one_hot(tensor([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.25, 0.25, 0.25]]))
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert found.dtype == torch.float64


def test_entropy_of_a_vertex_and_of_the_middle():
    torch.testing.assert_close(
        relax.entropy(tensor([[1.0, 0.0], [0.5, 0.5]])), tensor([0.0, 0.6931471805599453])
    )


@pytest.mark.parametrize("case", TRUTH["toy_mixed_op"]["cases"], ids=lambda c: c["T"])
def test_a_mixed_operation_with_quadratic_loss(case):
    toy = TRUTH["toy_mixed_op"]
    outputs, target = tensor(toy["op_outputs"]), tensor(toy["target"])
    alpha = alpha_of("normal").detach()[:1, :5].requires_grad_()
    for function, kind in ((relax.softmax, "plain"), (relax.sparse_noisy_softmax, "sparse_noisy")):
        p = function(alpha, case["T"])
        mixed = (p @ outputs)[0]
        loss = 0.5 * (mixed - target).square().sum()
        to_p, to_alpha = torch.autograd.grad(loss, [p, alpha])
        close(p[0].detach(), case["p"])
        close(mixed.detach(), case["mix"])
        close(loss.detach(), case["loss"])
        torch.testing.assert_close(to_p[0], tensor(case["dL_dp"]), rtol=1e-8, atol=1e-9)
        if kind == "sparse_noisy" and case["T"] == 1:
            # the truth's toy adds the second term there too; the released search does not
            kind = "plain"
        torch.testing.assert_close(
            to_alpha[0], tensor(case[f"dL_dalpha_{kind}"]), rtol=1e-8, atol=1e-8
        )
