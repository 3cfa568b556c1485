"""Cross-entropy straight from hidden states, so that the logits of a whole batch need not exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gptsmith.data.windows import IGNORED
from gptsmith.model.kernels.soft_cap import soft_cap_slope_, soft_capped, soft_capped_


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
    """Computes loss and gradients together, block by block: each block's logits are used twice and forgotten."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None) -> Tensor:
        ctx.cap, same = cap, weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient: Tensor | None = None
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        for rows, gradient, log_likelihoods in _gradient_blocks(hidden, same, targets, ctx.cap):
            total -= log_likelihoods.sum()
            torch.mm(gradient, same, out=hidden_gradient[rows])
            if ctx.needs_input_grad[1]:
                weight_gradient = _sum_of(weight_gradient, gradient.T @ hidden[rows], total.dtype)
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        scale = gradients[0]
        if weight_gradient is not None:
            weight_gradient = weight_gradient.to(ctx.weight_dtype, copy=True).mul_(scale)
        return hidden_gradient * scale.to(hidden_gradient.dtype), weight_gradient, None, None


class _TokenLogLikelihoods(torch.autograd.Function):
    """Each target's log-likelihood. What each will be multiplied by is known in the backward pass alone, so that the
    logits are computed again there, block by block."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None) -> Tensor:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.cap = cap
        return _log_likelihoods(hidden, weight, targets, cap)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        upstream = gradients[0]
        same = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient: Tensor | None = None
        for rows, gradient, _ in _gradient_blocks(hidden, same, targets, ctx.cap):
            gradient *= -upstream[rows, None].to(gradient.dtype)
            torch.mm(gradient, same, out=hidden_gradient[rows])
            if ctx.needs_input_grad[1]:
                weight_gradient = _sum_of(weight_gradient, gradient.T @ hidden[rows], upstream.dtype)
        return hidden_gradient, None if weight_gradient is None else weight_gradient.to(weight.dtype), None, None


def _sum_of(total: Tensor | None, share: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum of what there is and of one more block's, which alone stays as it is."""
    return share if total is None else total.to(dtype) + share


def _gradient_blocks(
    hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Block by block of hidden states (N, C): which rows it has, the gradient of its cross-entropy with respect to its
    logits (n, V) before their cap, which the next block overwrites, and ln p(target) (n).

    With p = softmax(hidden weight'), that gradient is p - 1 at the target and p elsewhere, times the slope of the cap.
    With it as G, the gradient of the hidden states is G weight, and that of the weight G' hidden.
    """
    vocab_size = len(weight)
    sizes = BlockSizes.of(vocab_size, hidden.device)
    block = max(1, min(sizes.block, len(hidden)))
    part = min(sizes.part, block)
    gradients = hidden.new_empty(block, sizes.stride)[:, :vocab_size]
    scratch = hidden.new_empty(part, sizes.stride)[:, :vocab_size]
    for start in range(0, len(hidden), block):
        rows = slice(start, min(start + block, len(hidden)))
        found = []
        for first in range(start, rows.stop, part):
            stop = min(first + part, rows.stop)
            logits = soft_capped_(torch.mm(hidden[first:stop], weight.T, out=scratch[: stop - first]), cap)
            gradient = gradients[first - start : stop - start]
            found.append(_to_gradient(logits, targets[first:stop], gradient))
            if cap is not None:
                gradient *= soft_cap_slope_(logits, cap)
        yield rows, gradients[: rows.stop - start], torch.cat(found)


def _to_gradient(logits: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
    """Writes softmax(logits) - (1 at the target) into `gradient`, and returns ln p(target) of each row."""
    index = targets[:, None]
    probability = torch.softmax(logits, dim=1, out=gradient)
    at_target = probability.gather(1, index)
    log_likelihood = at_target.to(torch.float64).log()
    if logits.device.type != "cpu" or bool((at_target < torch.finfo(at_target.dtype).tiny).any()):
        # From the most likely token's p, which is never too small for a logarithm. A GPU would wait to know whether it
        # must, and passes over all logits cost it little.
        gap = logits.gather(1, index).to(torch.float64) - logits.amax(dim=1, keepdim=True)
        log_likelihood = gap + probability.amax(dim=1, keepdim=True).to(torch.float64).log()
    gradient.scatter_(1, index, at_target - 1)
    return log_likelihood[:, 0]


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None = None) -> Tensor:
    """The sum of -ln softmax(hidden weight')[target], in nats, over all targets that are not -100.

    Args:
        hidden: (..., C).
        weight: (V, C).
        targets: (...).
        cap: the soft cap of the logits; none if None.
    """
    rows, wanted = _with_target(hidden, targets)
    if not len(rows):
        return (hidden.sum() + weight.sum()) * 0.0  # in every parameter's graph, as any other batch is
    if torch.is_grad_enabled():
        total: Tensor = _LinearCrossEntropy.apply(rows, weight, wanted, cap)  # type: ignore[no-untyped-call]
        return total
    return -_log_likelihoods(rows, weight, wanted, cap).sum()


def token_log_likelihoods(
    hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    """ln softmax(hidden weight')[target] of each target that is not -100, row by row; and the row that each stands in.

    Args:
        hidden: (B, T, C).
        weight: (V, C).
        targets: (B, T).
        cap: the soft cap of the logits; none if None.
    """
    rows, wanted = _with_target(hidden, targets)
    owner = torch.arange(len(targets), device=targets.device)[:, None].expand_as(targets)[targets != IGNORED]
    if not torch.is_grad_enabled():
        return owner, _log_likelihoods(rows, weight, wanted, cap)
    values: Tensor = _TokenLogLikelihoods.apply(rows, weight, wanted, cap)  # type: ignore[no-untyped-call]
    return owner, values


def _log_likelihoods(rows: Tensor, weight: Tensor, wanted: Tensor, cap: float | None) -> Tensor:
    """The same (N) of hidden states (N, C) that all have a target, a part of the logits at a time, without a
    gradient."""
    part = BlockSizes.of(len(weight), rows.device).part
    same = weight.to(rows.dtype)
    parts = zip(torch.split(rows, part), torch.split(wanted, part), strict=True)
    return torch.cat(
        [-functional.cross_entropy(head_logits(some, same, cap), ids, reduction="none") for some, ids in parts]
    )


def _with_target(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states (N, C) and the targets (N) of positions that have a target."""
    rows, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    has_target = wanted != IGNORED
    return (rows, wanted) if bool(has_target.all()) else (rows[has_target], wanted[has_target])


def plain_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, cap: float | None = None) -> Tensor:
    """The same sum with all logits in memory: the plain twin."""
    return functional.cross_entropy(head_logits(hidden, weight, cap), targets, ignore_index=IGNORED, reduction="sum")


def head_logits(hidden: Tensor, weight: Tensor, cap: float | None) -> Tensor:
    """The logits (..., V), in float32 or finer, of hidden states (..., C) by a head's weight (V, C) and a soft cap."""
    logits = hidden @ weight.to(hidden.dtype).T
    return soft_capped(logits.to(torch.promote_types(hidden.dtype, torch.float32)), cap)
