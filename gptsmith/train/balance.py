"""The balance of a model's experts in training, beside whatever objective it is trained with: how many tokens each
computed, a loss of that, and the biases that are moved against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gptsmith.data.windows import IGNORED
from gptsmith.model.feedforward.experts import (
    Experts,
    ExpertsSettings,
    balance_sum,
    choice_counts,
    recorded_routing,
)
from gptsmith.model.gpt import GPT
from gptsmith.run.sharding import full_tensor, shard_like
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings, Term

BALANCE = "balance"


@dataclass(frozen=True)
class ExpertLoad:
    """How the tokens of a step were shared among the experts: those that each one of a layer was chosen for."""

    layers: tuple[tuple[float, ...], ...]

    def figures(self) -> dict[str, float]:
        """The share of the choices of a layer that its busiest and its idlest expert got, of all layers the largest and
        the least; empty of a model without experts."""
        shares = [count / total for layer in self.layers if (total := sum(layer)) for count in layer]
        return {"busiest_expert": max(shares), "idlest_expert": min(shares)} if shares else {}


NO_LOAD = ExpertLoad(())


class LoadMeter:
    """Counts the tokens of each expert over the micro-batches of a step."""

    def __init__(self, model: GPT) -> None:
        self.layers = expert_layers(model)
        self.counts = [torch.zeros(len(layer.experts), dtype=torch.float64) for layer in self.layers]

    def add(self, layer: Experts, counts: torch.Tensor) -> None:
        """Adds the counts (E,) of one layer and micro-batch."""
        self.counts[self.layers.index(layer)] += counts.detach().to("cpu", torch.float64)

    def flat(self) -> list[float]:
        """All counts, layer by layer, to be summed over processes."""
        return [count for layer in self.counts for count in layer.tolist()]

    def set_flat(self, counts: Sequence[float]) -> None:
        """Takes counts in the order of `flat`."""
        parts = torch.split(torch.tensor(counts, dtype=torch.float64), [len(layer) for layer in self.counts])
        self.counts = list(parts)

    def load(self) -> ExpertLoad:
        """The load, as counted until now."""
        return ExpertLoad(tuple(tuple(layer.tolist()) for layer in self.counts))


def expert_layers(model: GPT) -> list[Experts]:
    return [module for module in model.modules() if isinstance(module, Experts)]


def _weight(model: GPT) -> float:
    feedforward = model.config.feedforward
    return feedforward.balance_weight if isinstance(feedforward, ExpertsSettings) else 0.0


def training_counts(model: GPT, objective: ObjectiveSettings, batch: Batch) -> dict[str, int]:
    """The number of items that each term of the loss in training sums over."""
    counts = objective.counts(batch)
    return {**counts, BALANCE: batch.num_tokens} if _weight(model) else counts


def training_terms(
    model: GPT, objective: ObjectiveSettings, batch: Batch, meter: LoadMeter | None = None
) -> dict[str, Term]:
    """The terms of the loss in training: those of the objective, and the load-balancing loss over the tokens of the
    batch that have a target.

    Args:
        meter: counts the choices of these tokens.
    """
    if not model.config.feedforward.chooses_experts:
        return objective.loss(model, batch)
    with recorded_routing(model) as record:
        terms = objective.loss(model, batch)
    counted = batch.targets != IGNORED
    # An objective may also read other texts, such as prompts by themselves: they have no targets.
    routings = [routing for routing in record if routing.chosen.shape[:2] == counted.shape]
    if meter is not None:
        for routing in routings:
            meter.add(routing.layer, choice_counts(routing, counted).sum(dim=0))
    if routings and (weight := _weight(model)):
        terms = {**terms, BALANCE: Term(balance_sum(routings, counted), batch.num_tokens, weight)}
    return terms


def moved_biases(model: GPT) -> dict[str, nn.Parameter]:
    """The biases of choices that training moves, by name: those of routers that are trained themselves."""
    return {
        f"{name}.choice_bias": layer.choice_bias
        for name, layer in model.named_modules()
        if isinstance(layer, Experts) and layer.choice_bias is not None
        if all(parameter.requires_grad for parameter in layer.router.parameters())
    }


@torch.no_grad()
def move_biases(model: GPT, load: ExpertLoad) -> None:
    """Moves each bias by `balance_rate`, up if its expert was chosen for fewer tokens than the mean of its layer, down
    if for more (Wang et al. 2024, algorithm 1)."""
    feedforward, moved = model.config.feedforward, moved_biases(model)
    if not moved or not isinstance(feedforward, ExpertsSettings):
        return
    for bias, counts in zip(moved.values(), load.layers, strict=True):
        full = full_tensor(bias.detach())
        missing = sum(counts) / len(counts) - torch.tensor(counts, dtype=full.dtype, device=full.device)
        bias.copy_(shard_like(full + feedforward.balance_rate * missing.sign(), bias))
