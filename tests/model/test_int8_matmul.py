"""Dynamic int8 products: exact by every kernel, and no row depends on another."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from gptsmith.model.kernels.int8_matmul import (
    INPUT_MAX_WITHOUT_VNNI,
    Int8Matmul,
    PackedKernel,
    PlainKernel,
    best_kernel,
    largest_exact_input,
)
from gptsmith.model.kernels.int8_weights import INT8_MAX, quantize_per_row
from gptsmith.model.linear import fused_projections
from gptsmith.model.linear.int8 import Int8Linear
from gptsmith.model.packed_linear import PackedLinear

IN_DIM = 70
packed = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this processor has no fbgemm"
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quantized_layer(out_dim: int, *, bias: bool = True, seed: int = 0) -> Int8Linear:
    linear = Int8Linear(IN_DIM, out_dim, bias)
    linear.load_dense_weight(drawn(out_dim, IN_DIM, seed=seed))
    if linear.bias is not None:
        linear.bias.data.copy_(drawn(out_dim, seed=seed + 1))
    return linear


@packed
@pytest.mark.parametrize("num_rows", [1, 2, 16, 100])
def test_the_packed_kernel_is_its_plain_twin(num_rows: int) -> None:
    weight, scale = quantize_per_row(drawn(45, IN_DIM))
    shares = drawn(num_rows, IN_DIM, seed=1).clamp(-1, 1)
    kernel = PackedKernel(weight, scale)
    torch.testing.assert_close(
        kernel(shares), PlainKernel(weight, scale, kernel.input_max)(shares), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(kernel.matrix(), PlainKernel(weight, scale).matrix())


@packed
def test_the_largest_inputs_and_weights_are_summed_exactly() -> None:
    weight = torch.full((3, 512), INT8_MAX, dtype=torch.int8)
    for sign in (1, -1):
        found = PackedKernel(weight, torch.ones(3))(sign * torch.ones(5, 512))
        torch.testing.assert_close(found, torch.full((5, 3), float(sign * 512 * INT8_MAX)), rtol=1e-6, atol=0)
    assert largest_exact_input() in (INT8_MAX, INPUT_MAX_WITHOUT_VNNI)


def test_a_product_is_that_of_the_quantized_input_and_matrix() -> None:
    linear, x = quantized_layer(40), drawn(2, 5, IN_DIM, seed=3) * 3
    found = PackedLinear(linear)(x)
    largest = largest_exact_input() if best_kernel() is PackedKernel else INT8_MAX
    step = x.abs().amax(dim=-1, keepdim=True) / largest
    torch.testing.assert_close(found, (x / step).round() * step @ linear.matrix().T + linear.bias, rtol=1e-5, atol=1e-5)
    assert torch.equal(PackedLinear(linear)(torch.zeros(1, IN_DIM))[0], linear.bias)


def test_no_row_depends_on_the_others() -> None:
    layer, x = PackedLinear(quantized_layer(40)), drawn(33, IN_DIM, seed=4)
    x[7] *= 1000
    assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x]))


def test_layers_of_one_input_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [quantized_layer(10), quantized_layer(20, bias=False, seed=5), quantized_layer(30, seed=6)]
    fused, x = [PackedLinear(layer) for layer in layers], drawn(1, 4, IN_DIM, seed=7)
    for layer, dynamic in zip(layers, fused, strict=True):
        assert torch.equal(dynamic.matrix(), layer.matrix())
    fused_projections(x, *fused)
    calls: list[int] = []
    product = Int8Matmul.__call__

    def counted(self: Int8Matmul, x: Tensor) -> Tensor:
        calls.append(1)
        return product(self, x)

    monkeypatch.setattr(Int8Matmul, "__call__", counted)
    found = fused_projections(x, *fused)
    assert len(calls) == 1
    for layer, dynamic, y in zip(layers, fused, found, strict=True):
        assert torch.equal(y, dynamic(x))
        assert torch.equal(y, PackedLinear(layer)(x))
        torch.testing.assert_close(dynamic.matrix(), layer.matrix())
    other = PackedLinear(layers[0])
    assert [tuple(y.shape) for y in fused_projections(x, fused[1], other)] == [(1, 4, 20), (1, 4, 10)]


def test_fused_layers_keep_one_copy_of_their_matrices() -> None:
    layers = [quantized_layer(10), quantized_layer(20)]
    left = [weakref.ref(layer) for layer in layers]
    fused = [PackedLinear(layer) for layer in layers]
    del layers
    fused_projections(drawn(1, IN_DIM), *fused)
    gc.collect()
    assert [ref() for ref in left] == [None, None]
    assert not [name for layer in fused for name, _ in layer.named_parameters()]
