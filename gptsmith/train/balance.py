"""The load-balancing loss of models with experts, beside whatever objective they are trained with."""

from __future__ import annotations

from gptsmith.data.windows import IGNORED
from gptsmith.model.feedforward.experts import ExpertsSettings, balance_sum, recorded_routing
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings, Term

BALANCE = "balance"


def _weight(model: GPT) -> float:
    feedforward = model.config.feedforward
    return feedforward.balance_weight if isinstance(feedforward, ExpertsSettings) else 0.0


def training_counts(model: GPT, objective: ObjectiveSettings, batch: Batch) -> dict[str, int]:
    """The number of items that each term of the loss in training sums over."""
    counts = objective.counts(batch)
    return {**counts, BALANCE: batch.num_tokens} if _weight(model) else counts


def training_terms(model: GPT, objective: ObjectiveSettings, batch: Batch) -> dict[str, Term]:
    """The terms of the loss in training: those of the objective, and the load-balancing loss over the tokens of the
    batch that have a target."""
    if not (weight := _weight(model)):
        return objective.loss(model, batch)
    with recorded_routing(model) as record:
        terms = objective.loss(model, batch)
    counted = batch.targets != IGNORED
    # An objective may also read other texts, such as prompts by themselves: they have no targets.
    routings = [routing for routing in record if routing.chosen.shape[:2] == counted.shape]
    if routings:
        terms = {**terms, BALANCE: Term(balance_sum(routings, counted), batch.num_tokens, weight)}
    return terms
