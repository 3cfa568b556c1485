"""Cross-entropy straight from hidden states, so that the logits of a whole batch need not exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
MAX_LOGITS = 1 << 23
"""How many logits stand in memory at once: 32 MB as float32."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes loss and gradients together, block by block: each block's logits are used twice and forgotten."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        rows = max(1, MAX_LOGITS // weight.shape[0])
        same = weight.to(hidden.dtype)
        for start in range(0, hidden.shape[0], rows):
            block, wanted = hidden[start : start + rows], targets[start : start + rows]
            logits = (block @ same.T).to(total.dtype)
            asked = wanted != IGNORED
            index = wanted.clamp(min=0)[:, None]
            logits -= logits.logsumexp(dim=1, keepdim=True)
            total -= (logits.gather(1, index)[:, 0] * asked).sum()
            logits.exp_()
            logits.scatter_add_(1, index, torch.full_like(index, -1, dtype=logits.dtype))
            logits *= asked[:, None]
            gradient = logits.to(hidden.dtype)
            torch.mm(gradient, same, out=hidden_gradient[start : start + rows])
            weight_gradient += gradient.T @ block
        ctx.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        scale = gradients[0]
        return (
            hidden_gradient * scale.to(hidden_gradient.dtype),
            weight_gradient * scale.to(weight_gradient.dtype),
            None,
        )


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The sum of -ln softmax(hidden weight')[target], in nats, over all targets that are not -100.

    Args:
        hidden: (..., C).
        weight: (V, C).
        targets: (...).
    """
    rows = hidden.reshape(-1, hidden.shape[-1])
    if torch.is_grad_enabled():
        total: Tensor = _LinearCrossEntropy.apply(rows, weight, targets.reshape(-1))  # type: ignore[no-untyped-call]
        return total
    return plain_cross_entropy(rows, weight, targets.reshape(-1))


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same sum with all logits in memory: the plain twin."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(torch.promote_types(hidden.dtype, torch.float32))
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
