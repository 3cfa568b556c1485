"""A mixture of experts: each token is computed by the few feed-forward halves that a router chooses for it (Shazeer et
al. 2017; Fedus et al. 2021; Jiang et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gptsmith.base.errors import ConfigurationError
from gptsmith.model.dims import LayerDims
from gptsmith.model.feedforward import FeedForwardSettings, gated, mlp

MOST_EXPERTS = 4096


class ExpertsSettings(FeedForwardSettings):
    """The sum of w_e expert_e(x) over the experts of the largest router probabilities, softmax(x R), which weigh them.
    A token costs about as much as with one dense half, if `hidden_dim` is not set."""

    chooses_experts = True

    kind: Literal["experts"] = "experts"
    num_experts: int = Field(default=8, gt=0, le=MOST_EXPERTS)
    """Experts of each layer."""
    experts_per_token: int = Field(default=2, gt=0, le=MOST_EXPERTS)
    """Experts that compute a token."""
    renormalize: bool = True
    """Whether the weights of a token's experts add up to 1, or are the probabilities of the router."""
    activation: Literal["swiglu", "geglu", "geglu_tanh", "swiglu_oai", "gelu", "gelu_tanh", "relu", "relu2"] = "swiglu"
    """Activation of an expert: those with "glu" make it `gated`, the others an `mlp`."""
    balance_weight: float = Field(default=0.01, ge=0)
    """Weight, in training, of the load-balancing loss of each row: num_experts times the sum, over experts, of their
    share of the tokens times their mean probability. 0 for none."""

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.experts_per_token > self.num_experts:
            raise ConfigurationError(
                f"experts_per_token={self.experts_per_token} is more than num_experts={self.num_experts}: choose fewer "
                "for each token, or more experts"
            )
        return self

    def build(self, dims: LayerDims) -> Experts:
        return Experts(self, dims)

    def build_expert(self, dims: LayerDims) -> nn.Module:
        """One expert."""
        table = {"hidden_dim": self.width(dims), "bias": self.bias, "activation": self.activation}
        if self.activation in gated.ACTIVATIONS:
            return gated.GatedSettings.model_validate(table).build(dims)
        return mlp.MLPSettings.model_validate(table).build(dims)

    def width(self, dims: LayerDims) -> int:
        matrices = 3 if self.activation in gated.ACTIVATIONS else 2
        return self.hidden_dim or -(-8 * dims.embed_dim // (matrices * self.experts_per_token * 64)) * 64

    def active_width(self, dims: LayerDims) -> int:
        return self.experts_per_token * self.width(dims)

    def active_share(self, name: str) -> Fraction:
        return Fraction(self.experts_per_token, self.num_experts) if ".feedforward.experts." in name else Fraction(1)


@dataclass(frozen=True)
class Routing:
    """The choices of one layer's router.

    Attributes:
        probabilities: (B, T, E), of each expert.
        chosen: (B, T, k), the numbers of the experts that compute a token.
    """

    probabilities: Tensor
    chosen: Tensor


class Experts(nn.Module):
    """A router and its experts.

    Attributes:
        record: where each forward pass that has a gradient leaves its routing; nowhere if None.
    """

    def __init__(self, settings: ExpertsSettings, dims: LayerDims) -> None:
        super().__init__()
        self.num_chosen, self.renormalizes = settings.experts_per_token, settings.renormalize
        self.router = dims.linear.build(dims.embed_dim, settings.num_experts, settings.bias, "feedforward.router")
        self.experts = nn.ModuleList(settings.build_expert(dims) for _ in range(settings.num_experts))
        self.record: list[Routing] | None = None

    def forward(self, x: Tensor) -> Tensor:
        logits = self.router(x)  # (B, T, E)
        probabilities = logits.softmax(dim=-1, dtype=torch.promote_types(x.dtype, torch.float32))
        weights, chosen = probabilities.topk(self.num_chosen, dim=-1)  # (B, T, k) each
        if self.record is not None and torch.is_grad_enabled():
            self.record.append(Routing(probabilities, chosen))
        if self.renormalizes:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        # Each choice is a row. Sorted by expert, those of one expert are one block, which is one product.
        order = chosen.flatten().argsort(stable=True)
        rows = x.flatten(0, -2)[order // self.num_chosen]  # (B T k, C)
        counts: list[int] = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        computed = torch.cat([self._expert(number, part) for number, part in enumerate(torch.split(rows, counts))])
        outputs = computed[order.argsort()].view(*chosen.shape, -1)  # (B, T, k, C)
        return (outputs * weights[..., None].to(outputs.dtype)).sum(dim=-2)

    def _expert(self, number: int, rows: Tensor) -> Tensor:
        """The output of an expert. One without rows is left out, but has a gradient (of zero) like all others."""
        y: Tensor = self.experts[number](rows) if len(rows) or torch.is_grad_enabled() else rows
        return y


@contextmanager
def recorded_routing(model: nn.Module) -> Iterator[list[Routing]]:
    """The routings of all forward passes of a model within, layer by layer; none of a model without experts."""
    layers = [module for module in model.modules() if isinstance(module, Experts)]
    record: list[Routing] = []
    for layer in layers:
        layer.record = record
    try:
        yield record
    finally:
        for layer in layers:
            layer.record = None


def balance_sum(routings: Sequence[Routing], counted: Tensor) -> Tensor:
    """The load-balancing loss (Fedus et al. 2021, equation 4, for several experts a token as in Mixtral) of each row of
    a batch, times its tokens, summed over rows: rows are balanced by themselves, so that any division of a batch into
    rows gives the same sum. A layer's loss is k where its router is balanced; the mean over layers is taken.

    Args:
        counted: (B, T), true at tokens that count.
    """
    num_tokens = counted.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    total = routings[0].probabilities.new_zeros(())
    for routing in routings:
        num_experts, num_chosen = routing.probabilities.shape[-1], routing.chosen.shape[-1]
        mass = (routing.probabilities * counted[..., None]).sum(dim=1)  # (B, E)
        ones = counted[..., None].expand(-1, -1, num_chosen).flatten(1).to(mass.dtype)
        choices = torch.zeros_like(mass).scatter_add(1, routing.chosen.flatten(1), ones)  # (B, E)
        total = total + num_experts * (choices * mass / num_tokens).sum()
    return total / len(routings)
