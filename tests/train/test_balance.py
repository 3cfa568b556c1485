"""The load-balancing loss of a step: exact under accumulation, and what it is for."""

from __future__ import annotations

import copy

import pytest
import torch

from gptsmith.model.feedforward.experts import balance_sum, recorded_routing
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.presets import preset
from gptsmith.model.transform import with_adapters
from gptsmith.train.balance import (
    BALANCE,
    ExpertLoad,
    LoadMeter,
    move_biases,
    moved_biases,
    training_counts,
    training_terms,
)
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import mean_terms
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.step import accumulate, backward, train_step

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


def biased(rate: float = 0.01) -> GPT:
    feedforward = {"kind": "experts", "num_experts": 4, "hidden_dim": 16, "balance_weight": 0, "balance_rate": rate}
    shape = {"num_layers": 2, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}
    return GPT(preset("smith", **shape, init="gpt2", feedforward=feedforward), seed=2).double()


def test_a_step_counts_the_tokens_of_each_expert_whatever_its_micro_batches() -> None:
    whole = batch()
    parts = [Batch(whole.input_ids[a:b], whole.targets[a:b]) for a, b in ((0, 1), (1, 4))]
    loads = []
    for batches in ([whole], parts):
        meter = LoadMeter(one := model(0.0))
        backward(one, OBJECTIVE, batches, meter=meter)
        loads.append(meter.load())
    assert loads[0] == loads[1]
    assert [sum(layer) for layer in loads[0].layers] == [2 * whole.num_tokens] * 2
    assert not LoadMeter(GPT(preset("smith", vocab_size=8, embed_dim=8, num_layers=1, num_heads=2))).load().figures()


def test_the_figures_are_the_extremes_of_all_layers() -> None:
    load = ExpertLoad(((2.0, 3.0, 5.0), (0.0, 6.0, 4.0)))
    assert load.figures() == {"busiest_expert": 0.6, "idlest_expert": 0.0}


def test_a_bias_goes_up_by_the_rate_where_an_expert_had_too_few_tokens_and_down_where_too_many() -> None:
    one = biased(0.25)
    move_biases(one, ExpertLoad(((1.0, 4.0, 4.0, 7.0), (9.0, 9.0, 9.0, 1.0))))
    expected = [[0.25, 0.0, 0.0, -0.25], [-0.25, -0.25, -0.25, 0.25]]
    assert [block.feedforward.choice_bias.tolist() for block in one.blocks] == expected


def test_a_router_that_is_not_trained_keeps_its_biases() -> None:
    one = with_adapters(biased(), LoraLinearSettings(rank=2), seed=0)
    assert moved_biases(one) == {}
    move_biases(one, ExpertLoad(((0.0, 0.0, 0.0, 9.0),) * 2))
    assert not any(block.feedforward.choice_bias.any() for block in one.blocks)
    assert len(moved_biases(biased())) == 2


def test_biases_balance_a_router_that_prefers_one_expert() -> None:
    one, whole = biased(0.05), batch()
    with torch.no_grad():
        for block in one.blocks:
            block.feedforward.router.weight[0] = block.feedforward_norm(one.embedding.weight).mean(0) * 2
    optimizer = AdamWSettings().build(one)
    loads = [train_step(one, OBJECTIVE, optimizer, [whole], 0.0).load for _ in range(60)]
    first, last = (torch.tensor([load.layers for load in part]).sum(dim=0) for part in (loads[:5], loads[-20:]))
    assert (first[:, 0] / first.sum(dim=1) > 0.45).all()
    assert (last[:, 0] / last.sum(dim=1) < 0.25).all()
