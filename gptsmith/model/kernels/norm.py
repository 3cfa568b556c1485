"""RMSNorm with its gradient written out, for CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gptsmith.model.kernels.twins import uses_twins


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean x^2 + epsilon) * weight over the last dimension."""
    if x.device.type == "cpu" and torch.is_grad_enabled() and not uses_twins():
        normed: Tensor = _RMSNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
        return normed
    return functional.rms_norm(x, weight.shape, weight, epsilon)


class _RMSNorm(torch.autograd.Function):
    """With n = x / rms(x): dx = (dy w - n mean(dy w n)) / rms(x), dw = sum dy n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.rsqrt(length.square() / x.shape[-1] + epsilon)
        normed = x * inverse
        ctx.save_for_backward(normed, weight, inverse)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, weight, inverse = ctx.saved_tensors
        # The mean over the last dimension of dy w n, as a product with the vector w / C.
        product = gradients[0] * normed
        mean = (product @ (weight / weight.shape[0]))[..., None]
        of_x = (gradients[0] * weight).addcmul_(normed, mean, value=-1).mul_(inverse)
        return of_x, product.reshape(-1, weight.shape[0]).sum(dim=0), None
