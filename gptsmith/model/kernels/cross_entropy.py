"""Cross-entropy straight from hidden states, so that the logits of a whole batch need not exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.data.windows import IGNORED


@dataclass(frozen=True)
class BlockSizes:
    """How much of a batch's logits (N, V) exists at a time.

    Attributes:
        block: rows whose gradients stand in memory at once. Fewer would make the product that gives the weight's
            gradient a thin and slow one.
        part: rows whose logits are computed and replaced by their gradients at a time.
        stride: numbers from one row to the next.
    """

    block: int
    part: int
    stride: int

    @staticmethod
    def of(vocab_size: int, device: torch.device) -> BlockSizes:
        """128 MB of bfloat16 gradients on a processor, in parts that stay in its cache between loss and gradient. On a
        GPU 256 MB in one part, since each kernel costs a launch, in rows that begin at multiples of 128 bytes: in
        others, its fastest matrix products cannot write."""
        if device.type != "cuda":
            return BlockSizes(max(1, (1 << 26) // vocab_size), max(1, (1 << 21) // vocab_size), vocab_size)
        block = max(1, (1 << 27) // vocab_size)
        return BlockSizes(block, block, -(-vocab_size // 64) * 64)


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes loss and gradients together, block by block: each block's logits are used twice and forgotten.

    With p = softmax(hidden weight'), the gradient of the logits is p - 1 at the target and p elsewhere.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        vocab_size = weight.shape[0]
        same = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient: Tensor | None = None
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        sizes = BlockSizes.of(vocab_size, hidden.device)
        block = min(sizes.block, len(hidden))
        part = min(sizes.part, block)
        gradients = hidden.new_empty(block, sizes.stride)[:, :vocab_size]
        scratch = hidden.new_empty(part, sizes.stride)[:, :vocab_size]
        for start in range(0, len(hidden), block):
            rows = hidden[start : start + block]
            for first in range(0, len(rows), part):
                wanted = targets[start + first : min(start + first + part, start + block)]
                logits = torch.mm(rows[first : first + part], same.T, out=scratch[: len(wanted)])
                total += _to_gradient(logits, wanted, gradients[first : first + len(wanted)])
            # With G the gradient of the block's logits: dH = G W and dW = G' H.
            gradient = gradients[: len(rows)]
            torch.mm(gradient, same, out=hidden_gradient[start : start + block])
            if ctx.needs_input_grad[1]:
                share = gradient.T @ rows
                weight_gradient = share if weight_gradient is None else weight_gradient.to(total.dtype) + share
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        scale = gradients[0]
        if weight_gradient is not None:
            weight_gradient = weight_gradient.to(ctx.weight_dtype, copy=True).mul_(scale)
        return hidden_gradient * scale.to(hidden_gradient.dtype), weight_gradient, None


def _to_gradient(logits: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
    """Writes softmax(logits) - (1 at the target) into `gradient`, and returns the sum of -ln p(target)."""
    index = targets[:, None]
    largest = logits.amax(dim=1, keepdim=True)
    probability = torch.softmax(logits, dim=1, out=gradient)
    # ln p(target) from the most likely token's p, which is never too small for a logarithm.
    gap = logits.gather(1, index).to(torch.float64) - largest
    log_likelihood = gap + probability.amax(dim=1, keepdim=True).to(torch.float64).log()
    at_target = gradient.gather(1, index)
    gradient.scatter_(1, index, at_target - 1)
    return -log_likelihood.sum()


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The sum of -ln softmax(hidden weight')[target], in nats, over all targets that are not -100.

    Args:
        hidden: (..., C).
        weight: (V, C).
        targets: (...).
    """
    rows, wanted = _with_target(hidden, targets)
    if not len(rows):
        return (hidden.sum() + weight.sum()) * 0.0  # in every parameter's graph, as any other batch is
    if torch.is_grad_enabled():
        total: Tensor = _LinearCrossEntropy.apply(rows, weight, wanted)  # type: ignore[no-untyped-call]
        return total
    part = BlockSizes.of(weight.shape[0], rows.device).part
    parts = zip(torch.split(rows, part), torch.split(wanted, part), strict=True)
    same = weight.to(rows.dtype)
    return torch.stack([plain_cross_entropy(part, same, part_wanted) for part, part_wanted in parts]).sum()


def token_log_likelihoods(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """ln softmax(hidden weight')[target] of each target that is not -100, row by row; and the row that each stands in.

    Args:
        hidden: (B, T, C).
        weight: (V, C).
        targets: (B, T).
    """
    rows, wanted = _with_target(hidden, targets)
    logits = (rows @ weight.to(rows.dtype).T).to(torch.promote_types(rows.dtype, torch.float32))
    owner = torch.arange(len(targets), device=targets.device)[:, None].expand_as(targets)[targets != IGNORED]
    return owner, -functional.cross_entropy(logits, wanted, reduction="none")


def _with_target(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states (N, C) and the targets (N) of positions that have a target."""
    rows, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    has_target = wanted != IGNORED
    return (rows, wanted) if bool(has_target.all()) else (rows[has_target], wanted[has_target])


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same sum with all logits in memory: the plain twin."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(torch.promote_types(hidden.dtype, torch.float32))
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
