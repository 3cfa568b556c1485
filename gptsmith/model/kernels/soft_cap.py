"""Soft caps, cap tanh(x / cap): the identity near zero, and never beyond the cap (Gemma 2)."""

from __future__ import annotations

from torch import Tensor


def soft_capped(numbers: Tensor, cap: float | None) -> Tensor:
    """cap tanh(numbers / cap); the numbers themselves if there is no cap."""
    return numbers if cap is None else (numbers / cap).tanh() * cap


def soft_capped_(numbers: Tensor, cap: float | None) -> Tensor:
    """The same in place, where no gradient is recorded."""
    return numbers if cap is None else numbers.div_(cap).tanh_().mul_(cap)


def soft_cap_slope_(capped: Tensor, cap: float) -> Tensor:
    """The derivative of a capped number with respect to the number, 1 - tanh^2, in the capped one's place."""
    return capped.div_(cap).square_().neg_().add_(1)
