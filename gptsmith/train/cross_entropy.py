"""Cross-entropy straight from hidden states, so that the logits of a whole batch need not exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
MAX_LOGITS = 1 << 26
"""How many gradients of logits stand in memory at once: 128 MB as bfloat16. Fewer would make the product that gives
the weight's gradient a thin and slow one."""
LOGITS_IN_CACHE = 1 << 21
"""How many logits are made and turned into their gradients at a time."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes loss and gradients together, block by block: each block's logits are used twice and forgotten.

    With p = softmax(hidden weight'), the gradient of the logits is p - 1 at the target and p elsewhere.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        num_words = weight.shape[0]
        same = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient: Tensor | None = None
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        block = min(max(1, MAX_LOGITS // num_words), len(hidden))
        part = min(max(1, LOGITS_IN_CACHE // num_words), block)
        gradients = hidden.new_empty(block, num_words)
        scratch = hidden.new_empty(part, num_words)
        for start in range(0, len(hidden), block):
            rows = hidden[start : start + block]
            for first in range(0, len(rows), part):
                wanted = targets[start + first : min(start + first + part, start + block)]
                logits = torch.mm(rows[first : first + part], same.T, out=scratch[: len(wanted)])
                total += _to_gradient(logits, wanted, gradients[first : first + len(wanted)])
            gradient = gradients[: len(rows)]
            torch.mm(gradient, same, out=hidden_gradient[start : start + block])
            share = gradient.T @ rows
            weight_gradient = share if weight_gradient is None else weight_gradient.to(total.dtype) + share
        assert weight_gradient is not None, "a batch has tokens"
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        scale = gradients[0]
        return (
            hidden_gradient * scale.to(hidden_gradient.dtype),
            weight_gradient.to(ctx.weight_dtype, copy=True).mul_(scale),
            None,
        )


def _to_gradient(logits: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
    """Writes softmax(logits) - (1 at the target) into `gradient`, and returns the sum of -ln p(target)."""
    asked = targets != IGNORED
    index = targets.clamp(min=0)[:, None]
    largest = logits.amax(dim=1, keepdim=True)
    probability = torch.softmax(logits, dim=1, out=gradient)
    # ln p(target) from the likeliest word's p, which is never too small for a logarithm.
    gap = logits.gather(1, index).to(torch.float64) - largest
    log_likelihood = gap + probability.amax(dim=1, keepdim=True).to(torch.float64).log()
    at_target = gradient.gather(1, index)
    gradient.scatter_(1, index, at_target - 1)
    if not bool(asked.all()):
        gradient *= asked[:, None]
    return -(log_likelihood[:, 0] * asked).sum()


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
    at_once = max(1, LOGITS_IN_CACHE // weight.shape[0])
    parts = zip(torch.split(rows, at_once), torch.split(targets.reshape(-1), at_once), strict=True)
    same = weight.to(rows.dtype)
    return torch.stack([plain_cross_entropy(part, same, wanted) for part, wanted in parts]).sum()


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same sum with all logits in memory: the plain twin."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(torch.promote_types(hidden.dtype, torch.float32))
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
