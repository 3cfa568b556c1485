"""The rotation of rotary position embedding with its gradient written out, for CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gptsmith.model.kernels.twins import uses_twins


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x cos + (x's halves exchanged) sin: halves (a, b) become (a cos - b sin, b cos + a sin).

    Args:
        x: (..., D).
        cos: cosines twice, (..., D).
        sin: -sines, then sines, (..., D).
    """
    if x.device.type == "cpu" and torch.is_grad_enabled() and not uses_twins():
        result: Tensor = _Rotary.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return result
    return _apply_rotary(x, cos, sin)


def _apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class _Rotary(torch.autograd.Function):
    """The gradient of a turn is the turn back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _apply_rotary(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _apply_rotary(gradients[0], cos, -sin), None, None
