"""The load-balancing loss of a step: exact under accumulation, and what it is for."""

from __future__ import annotations

import copy

import pytest
import torch

from gptsmith.model.feedforward.experts import balance_sum, recorded_routing
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train.balance import BALANCE, training_counts, training_terms
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import mean_terms
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.step import accumulate

OBJECTIVE = NextTokenSettings()


def model(weight: float) -> GPT:
    feedforward = {"kind": "experts", "num_experts": 4, "hidden_dim": 16, "balance_weight": weight}
    shape = {"num_layers": 2, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}
    return GPT(preset("smith", **shape, init="gpt2", feedforward=feedforward), seed=2).double()


def batch() -> Batch:
    ids = torch.randint(20, (4, 9), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    targets[2, 3:] = -100
    return Batch(ids[:, :-1], targets)


def test_the_balance_is_a_term_beside_the_objectives() -> None:
    terms = training_terms(model(0.5), OBJECTIVE, batch())
    assert training_counts(model(0.5), OBJECTIVE, batch()) == {name: term.count for name, term in terms.items()}
    assert terms[BALANCE].weight == 0.5
    assert terms[BALANCE].sum.requires_grad
    assert training_terms(model(0), OBJECTIVE, batch()).keys() == {"next_token"}
    assert mean_terms(model(0.5), OBJECTIVE, [batch()]).keys() == {"loss", "next_token"}


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_any_division_of_a_step_gives_the_same_loss_and_gradient(weight: float) -> None:
    whole, one = batch(), model(weight)
    many = copy.deepcopy(one)
    parts = [Batch(whole.input_ids[a:b], whole.targets[a:b]) for a, b in ((0, 1), (1, 4))]
    assert accumulate(one, OBJECTIVE, [whole]) == pytest.approx(accumulate(many, OBJECTIVE, parts), abs=1e-12)
    for ours, theirs in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def imbalance_after_training(weight: float) -> float:
    """The load-balancing loss of a router that preferred one expert, after training."""
    trained, counted = model(weight), torch.ones(4, 8, dtype=torch.bool)
    with torch.no_grad():
        for block in trained.blocks:
            block.feedforward.router.weight[0] = block.feedforward_norm(trained.embedding.weight).mean(0) * 8
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        accumulate(trained, OBJECTIVE, [batch()])
        optimizer.step()
    with recorded_routing(trained) as routings:
        trained.hidden(batch().input_ids)
    return balance_sum(routings, counted).item() / 32


def test_it_brings_tokens_to_all_experts() -> None:
    assert imbalance_after_training(1.0) < imbalance_after_training(0.0) - 0.1
