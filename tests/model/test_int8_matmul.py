"""Rounded inputs with rounded matrices: exact by every kernel, and no row knows of another."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptsmith.model.kernels.int8_matmul import (
    LARGEST_BESIDE_ANOTHER,
    PackedKernel,
    PlainKernel,
    WholeProduct,
    best_kernel,
    largest_input,
)
from gptsmith.model.linear import products
from gptsmith.model.linear.int8 import LARGEST, Int8Linear, round_by_row

IN_DIM = 70
packed = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this processor has no fbgemm"
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rounded_map(out_dim: int, *, bias: bool = True, seed: int = 0) -> Int8Linear:
    linear = Int8Linear(IN_DIM, out_dim, bias)
    linear.take(drawn(out_dim, IN_DIM, seed=seed))
    if linear.bias is not None:
        linear.bias.data.copy_(drawn(out_dim, seed=seed + 1))
    return linear


@packed
@pytest.mark.parametrize("num_rows", [1, 2, 16, 100])
def test_the_packed_kernel_is_its_plain_twin(num_rows: int) -> None:
    weight, scale = round_by_row(drawn(45, IN_DIM))
    shares = drawn(num_rows, IN_DIM, seed=1).clamp(-1, 1)
    kernel = PackedKernel(weight, scale)
    torch.testing.assert_close(kernel(shares), PlainKernel(weight, scale, kernel.largest)(shares), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(kernel.matrix(), PlainKernel(weight, scale).matrix())


@packed
def test_the_largest_inputs_and_weights_are_summed_exactly() -> None:
    weight = torch.full((3, 512), LARGEST, dtype=torch.int8)
    for sign in (1, -1):
        found = PackedKernel(weight, torch.ones(3))(sign * torch.ones(5, 512))
        torch.testing.assert_close(found, torch.full((5, 3), float(sign * 512 * LARGEST)), rtol=1e-6, atol=0)
    assert largest_input() in (LARGEST, LARGEST_BESIDE_ANOTHER)


def test_a_product_is_that_of_the_rounded_input_and_matrix() -> None:
    linear, x = rounded_map(40), drawn(2, 5, IN_DIM, seed=3) * 3
    found = WholeProduct([linear])(x)
    largest = largest_input() if best_kernel() is PackedKernel else LARGEST
    step = x.abs().amax(dim=-1, keepdim=True) / largest
    torch.testing.assert_close(found, (x / step).round() * step @ linear.matrix().T + linear.bias, rtol=1e-5, atol=1e-5)
    assert torch.equal(WholeProduct([linear])(torch.zeros(1, IN_DIM))[0], linear.bias)


def test_no_row_depends_on_the_others() -> None:
    product, x = WholeProduct([rounded_map(40)]), drawn(33, IN_DIM, seed=4)
    x[7] *= 1000
    assert torch.equal(product(x), torch.cat([product(row[None]) for row in x]))


def test_maps_of_one_input_are_multiplied_together() -> None:
    maps = [rounded_map(10), rounded_map(20, bias=False, seed=5), rounded_map(30, seed=6)]
    shared, x = WholeProduct(maps).maps(), drawn(1, 4, IN_DIM, seed=7)
    calls = []
    kernel = shared[0].product.kernel
    shared[0].product.kernel = lambda shares: calls.append(1) or kernel(shares)  # type: ignore
    found = products(x, *shared)
    assert len(calls) == 1
    for linear, whole, y in zip(maps, shared, found, strict=True):
        assert torch.equal(y, whole(x))
        assert torch.equal(y, WholeProduct([linear])(x))
        torch.testing.assert_close(kernel.matrix()[whole.columns], linear.matrix())
    other = WholeProduct([maps[0]]).maps()[0]
    assert [tuple(y.shape) for y in products(x, shared[1], other)] == [(1, 4, 20), (1, 4, 10)]
