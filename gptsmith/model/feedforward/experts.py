"""A mixture of experts: each token is computed by the few feed-forward halves that a router chooses for it (Shazeer et
al. 2017; Fedus et al. 2021; Jiang et al. 2024), and by shared ones (DeepSeek-AI 2024)."""

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
    num_shared_experts: int = Field(default=0, ge=0, le=MOST_EXPERTS)
    """Experts that compute every token, besides the chosen ones: together one half of their whole width."""
    shared_gate: bool = False
    """Whether the output of the shared experts is multiplied by sigmoid(x G), a number for each token (Qwen2-MoE)."""
    renormalize: bool = True
    """Whether the weights of a token's experts add up to 1, or are the probabilities of the router."""
    activation: Literal["swiglu", "geglu", "geglu_tanh", "swiglu_oai", "gelu", "gelu_tanh", "relu", "relu2"] = "swiglu"
    """Activation of an expert: those with "glu" make it `gated`, the others an `mlp`."""
    balance_weight: float = Field(default=0.01, ge=0)
    """Weight, in training, of the load-balancing loss of each row: num_experts times the sum, over experts, of their
    share of the tokens times their mean probability. 0 for none."""
    balance_rate: float = Field(default=0.0, ge=0, lt=1)
    """Balancing without a loss (Wang et al. 2024, as in DeepSeek-V3): each expert has a bias that is added to its
    probability for the choice alone; each training step moves it by this, up if the expert had fewer tokens than the
    mean and down if it had more. Usually 0.001, with `balance_weight` 0; 0 for no biases."""

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.experts_per_token > self.num_experts:
            raise ConfigurationError(
                f"experts_per_token={self.experts_per_token} is more than num_experts={self.num_experts}: choose fewer "
                "for each token, or more experts"
            )
        if self.shared_gate and not self.num_shared_experts:
            raise ConfigurationError("shared_gate=true has nothing to weigh: choose num_shared_experts of at least 1")
        return self

    def build(self, dims: LayerDims) -> Experts:
        return Experts(self, dims)

    def build_expert(self, dims: LayerDims, count: int = 1) -> nn.Module:
        """One expert, or one that is as wide as several."""
        table = {"hidden_dim": count * self.width(dims), "bias": self.bias, "activation": self.activation}
        if self.activation in gated.ACTIVATIONS:
            return gated.GatedSettings.model_validate(table).build(dims)
        return mlp.MLPSettings.model_validate(table).build(dims)

    def width(self, dims: LayerDims) -> int:
        matrices = 3 if self.activation in gated.ACTIVATIONS else 2
        return self.hidden_dim or -(-8 * dims.embed_dim // (matrices * self._num_active * 64)) * 64

    @property
    def _num_active(self) -> int:
        """The experts that compute a token."""
        return self.experts_per_token + self.num_shared_experts

    def active_width(self, dims: LayerDims) -> int:
        return self._num_active * self.width(dims)

    def active_share(self, name: str) -> Fraction:
        return Fraction(self.experts_per_token, self.num_experts) if ".feedforward.experts." in name else Fraction(1)


@dataclass(frozen=True)
class Routing:
    """The choices of one layer's router.

    Attributes:
        layer: the layer.
        probabilities: (B, T, E), of each expert.
        chosen: (B, T, k), the numbers of the experts that compute a token.
    """

    layer: Experts
    probabilities: Tensor
    chosen: Tensor


class Experts(nn.Module):
    """A router and its experts.

    Attributes:
        choice_bias: (E,), added to the probabilities for the choice: moved by `gptsmith.train.balance`, and not by
            a gradient; None if `balance_rate` is 0.
        record: where each forward pass that has a gradient leaves its routing; nowhere if None.
    """

    def __init__(self, settings: ExpertsSettings, dims: LayerDims) -> None:
        super().__init__()
        self.num_chosen, self.renormalizes = settings.experts_per_token, settings.renormalize
        self.router = dims.linear.build(dims.embed_dim, settings.num_experts, settings.bias, "feedforward.router")
        self.experts = nn.ModuleList(settings.build_expert(dims) for _ in range(settings.num_experts))
        self.shared = settings.build_expert(dims, shared) if (shared := settings.num_shared_experts) else None
        self.shared_gate = (
            dims.linear.build(dims.embed_dim, 1, False, "feedforward.shared_gate") if settings.shared_gate else None
        )
        self.choice_bias: nn.Parameter | None = (
            nn.Parameter(torch.zeros(settings.num_experts), requires_grad=False) if settings.balance_rate else None
        )
        self.record: list[Routing] | None = None

    def forward(self, x: Tensor) -> Tensor:
        logits = self.router(x)  # (B, T, E)
        probabilities = logits.softmax(dim=-1, dtype=torch.promote_types(x.dtype, torch.float32))
        preference = probabilities if self.choice_bias is None else probabilities + self.choice_bias
        chosen = preference.topk(self.num_chosen, dim=-1).indices  # (B, T, k)
        weights = probabilities.gather(-1, chosen)
        if self.record is not None and torch.is_grad_enabled():
            self.record.append(Routing(self, probabilities, chosen))
        if self.renormalizes:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        # Each choice is a row. Sorted by expert, those of one expert are one block, which is one product.
        order = chosen.flatten().argsort(stable=True)
        rows = x.flatten(0, -2)[order // self.num_chosen]  # (B T k, C)
        counts: list[int] = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        computed = torch.cat([self._expert(number, part) for number, part in enumerate(torch.split(rows, counts))])
        outputs = computed[order.argsort()].view(*chosen.shape, -1)  # (B, T, k, C)
        mixed = (outputs * weights[..., None].to(outputs.dtype)).sum(dim=-2)
        return mixed if self.shared is None else mixed + self._shared(x, self.shared)

    def _shared(self, x: Tensor, shared: nn.Module) -> Tensor:
        """The output of the experts that compute every token."""
        y: Tensor = shared(x)
        return y if self.shared_gate is None else y * self.shared_gate(x).sigmoid()

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


def choice_counts(routing: Routing, counted: Tensor) -> Tensor:
    """How often each expert was chosen for the tokens of each row (B, E), in the dtype of the probabilities.

    Args:
        counted: (B, T), true at tokens that count.
    """
    num_experts, num_chosen = routing.probabilities.shape[-1], routing.chosen.shape[-1]
    ones = counted[..., None].expand(-1, -1, num_chosen).flatten(1).to(routing.probabilities.dtype)
    return ones.new_zeros(len(counted), num_experts).scatter_add(1, routing.chosen.flatten(1), ones)


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
        mass = (routing.probabilities * counted[..., None]).sum(dim=1)  # (B, E)
        choices = choice_counts(routing, counted)  # (B, E)
        total = total + mass.shape[-1] * (choices * mass / num_tokens).sum()
    return total / len(routings)
