"""Muon for the matrices of the blocks (Jordan et al. 2024), AdamW for the rest."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gptsmith.model.device import is_bfloat16_faster
from gptsmith.run.sharding import full_tensor, is_sharded, shard_like
from gptsmith.train.optimizers import FusedAdamW, Optimizer, OptimizerSettings, Part, trained_parameters

QUINTICS = (
    (8.0934, -23.6205, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""a x + b x^3 + c x^5, applied one after the other: each is the nearest to 1 on the interval that the one before it
leaves (Amsel et al. 2025, Polar Express). Singular values from 0.01 to 1 come within 0.27 of 1."""
BOUND_MARGIN = 1.01
"""How far a bound of singular values stays above the largest, so that rounding to bfloat16 lifts none above 1, where
the first quintic is steep."""
TINY = 1e-7
"""Matrices of zeros are divided by this."""
GATHERED_NUMBERS = 1 << 24
"""Of sharded matrices, at most so many numbers, or one matrix, are gathered at a time."""
MATRICES = (".weight", ".lora_a", ".lora_b")
"""The endings of the names of the matrices of the blocks' linear layers, and of their adapters."""


class MuonSettings(OptimizerSettings):
    """Muon with Nesterov momentum for matrices of the blocks; AdamW for embeddings, head, norms and biases."""

    kind: Literal["muon"] = "muon"
    state_bytes_per_parameter: ClassVar[int] = 4  # the momentum of the matrices, in float32
    learning_rate: float = Field(default=0.02, gt=0)
    """The peak learning rate of the blocks' matrices, for square ones; tall ones get more."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the running mean of gradients."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay: each step subtracts this fraction of a matrix, times the learning rate."""
    embedding_learning_rate: float = Field(default=0.15, gt=0)
    """AdamW's peak learning rate for embeddings."""
    head_learning_rate: float = Field(default=0.005, gt=0)
    """AdamW's peak learning rate for a head that is not tied to the embedding."""
    scalar_learning_rate: float = Field(default=0.01, gt=0)
    """AdamW's peak learning rate for norms, biases and other vectors."""

    def build(self, model: nn.Module) -> Optimizer:
        groups: dict[str, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in trained_parameters(model).items():
            if "embedding" in name:
                groups["embedding"].append(parameter)
            elif name.startswith("head."):
                groups["head"].append(parameter)
            elif name.startswith("blocks.") and name.endswith(MATRICES) and parameter.dim() == 2:
                groups["matrix"].append(parameter)
            else:
                groups["scalar"].append(parameter)
        rates = {
            "embedding": self.embedding_learning_rate,
            "head": self.head_learning_rate,
            "scalar": self.scalar_learning_rate,
        }
        with_adamw = [{"params": groups[name], "lr": rate} for name, rate in rates.items() if groups[name]]
        parts: list[Part] = []
        if groups["matrix"]:
            parts.append(Muon(groups["matrix"], self.learning_rate, self.momentum, self.weight_decay))
        if with_adamw:
            parts.append(FusedAdamW(with_adamw, (0.8, 0.95)))
        return Optimizer(model, parts)


class Muon:
    """Momentum whose matrices are made orthogonal before they are applied, all matrices of one shape at once."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        self.param_groups: list[dict[str, Any]] = [
            {"params": same, "lr": lr, "momentum": momentum, "weight_decay": weight_decay} for same in by_shape.values()
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {"momentum": torch.zeros_like(parameter, requires_grad=False)} for parameter in parameters
        }

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            count = len(parameters)
            if is_sharded(parameters[0]):
                count = max(1, GATHERED_NUMBERS // parameters[0].numel())
            for first in range(0, len(parameters), count):
                self._move(parameters[first : first + count], group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One update of matrices of one shape."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        looked_ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        directions = orthogonalized(torch.stack([full_tensor(matrix) for matrix in looked_ahead])).unbind()
        rows, columns = parameters[0].shape
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        moves = [shard_like(matrix, p) for matrix, p in zip(directions, parameters, strict=True)]
        torch._foreach_add_(parameters, moves, alpha=-rate)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Matrices (N, R, C) with the same singular vectors and singular values near 1.

    An odd polynomial of X is q(G) X with the Gram matrix G = X X', and all polynomials of G commute: only the small G
    and q are multiplied until the end. float32 is multiplied as bfloat16 where that is faster, float64 as it is.
    """
    coarse = matrices.dtype == torch.float32 and is_bfloat16_faster(matrices.device)
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=TINY)
    x = x.bfloat16() if coarse else x
    tall = x.shape[1] > x.shape[2]
    gram = x.mT @ x if tall else x @ x.mT
    square = gram @ gram
    # |G^2|^(1/4) is a far tighter bound of X's largest singular value than |X|, and saves two quintics.
    bound = BOUND_MARGIN * square.norm(dim=(1, 2), keepdim=True).clamp(min=TINY**4) ** 0.25
    gram, square = gram / bound**2, square / bound**4
    a, b, c = QUINTICS[0]
    factor = torch.add(b * gram, square, alpha=c)  # p(x) = (a + factor) x
    whole = torch.diagonal_scatter(factor, factor.diagonal(dim1=1, dim2=2) + a, dim1=1, dim2=2)
    for following in QUINTICS[1:]:
        # p(X) has the Gram matrix (a + factor) G (a + factor).
        half = torch.baddbmm(gram, factor, gram, beta=a)
        gram = torch.baddbmm(half, factor, half, beta=a)
        a, b, c = following
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        whole = torch.baddbmm(whole, factor, whole, beta=a)
    whole = whole / bound
    return (x @ whole if tall else whole @ x).to(matrices.dtype)
