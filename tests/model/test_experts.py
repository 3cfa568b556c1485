"""A mixture of experts: its contract, its cost, its other linear layers and what its router learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.model.cost import cost
from gptsmith.model.feedforward.experts import balance_sum, recorded_routing
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.presets import preset
from gptsmith.model.transform import merge_lora, quantize, with_adapters
from tests.model.contracts import MODEL_CHECKS, VOCAB, build, close, some_ids

FOUR = {"kind": "experts", "num_experts": 4, "hidden_dim": 24}


@pytest.mark.parametrize("linear", ["dense", "lora"])
@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_experts_keep_the_contract(check: Callable[[GPT], None], linear: str) -> None:
    check(build(feedforward=FOUR, linear=linear))


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_the_shape_of_gpt_oss_keeps_the_contract(check: Callable[[GPT], None]) -> None:
    attention = {
        "kind": "sliding_window",
        "window_size": 5,
        "layers": [0],
        "num_kv_heads": 2,
        "sinks": True,
        "bias": True,
    }
    yarn = {"kind": "yarn", "factor": 4.0, "original_context_length": 8, "truncate": False}
    check(
        build(
            attention=attention,
            position={"kind": "rotary", "scaling": yarn},
            feedforward=FOUR | {"experts_per_token": 3, "activation": "swiglu_oai", "bias": True},
            head_dim=12,
        )
    )


@pytest.mark.parametrize("renormalize", [True, False])
def test_all_experts_together_are_their_weighted_sum(renormalize: bool) -> None:
    half = build(feedforward=FOUR | {"experts_per_token": 4, "renormalize": renormalize}).blocks[0].feedforward
    x = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        weights = half.router(x).softmax(-1)
        expected = sum(weights[..., number, None] * expert(x) for number, expert in enumerate(half.experts))
        close(half(x), expected, atol=1e-12)


def test_probabilities_that_are_not_renormalized_weigh_the_experts() -> None:
    half = build(feedforward=FOUR | {"renormalize": False}).blocks[0].feedforward
    x = torch.randn(1, 3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        weights, chosen = half.router(x).softmax(-1).topk(2)
        for t in range(3):
            parts = [
                w * half.experts[int(e)](x[0, t][None])[0] for w, e in zip(weights[0, t], chosen[0, t], strict=True)
            ]
            close(half(x)[0, t], parts[0] + parts[1], atol=1e-12)


def test_an_expert_without_tokens_has_a_gradient_of_zero() -> None:
    model = build(feedforward=FOUR | {"num_experts": 16}).train()
    model(some_ids(1, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    idle = [e for e in model.blocks[0].feedforward.experts if not any(p.grad.any() for p in e.parameters())]
    assert len(idle) >= 12


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for enabled in (False, True):
        model = build(feedforward=FOUR).train()
        model.use_gradient_checkpointing(enabled)
        with recorded_routing(model) as routings:
            nats = model(some_ids()).square().mean()
        assert len(routings) == 2
        (nats + balance_sum(routings, torch.ones(2, 16, dtype=torch.bool))).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        close(again, plain, atol=1e-12)


def test_the_balance_is_switchs_equation_and_least_where_experts_share_tokens_equally() -> None:
    model = build(feedforward=FOUR)
    counted = torch.ones(2, 16, dtype=torch.bool)
    counted[1, 9:] = False
    with recorded_routing(model) as routings:
        model(some_ids())
    expected = torch.zeros((), dtype=torch.float64)
    for routing in routings:
        for row, tokens in ((0, 16), (1, 9)):
            for expert in range(4):
                share = (routing.chosen[row, :tokens] == expert).any(-1).double().mean()
                mean = routing.probabilities[row, :tokens, expert].mean()
                expected = expected + 4 * share * mean * tokens / 2
    close(balance_sum(routings, counted), expected, atol=1e-12)
    with torch.no_grad():
        for block in model.blocks:
            block.feedforward.router.weight.zero_()
    with recorded_routing(model) as routings:
        model(some_ids())
    close(balance_sum(routings, counted), torch.tensor(2 * 25.0, dtype=torch.float64))
    with recorded_routing(model) as routings, torch.no_grad():
        model(some_ids())
    assert routings == []


def test_the_cost_counts_the_experts_of_a_token() -> None:
    config = preset("smith", vocab_size=50, feedforward=FOUR | {"experts_per_token": 1})
    dense = preset("smith", vocab_size=50, feedforward={"hidden_dim": 24})
    model, known, alone = GPT(config), cost(config), cost(dense)
    router = config.num_layers * 4 * config.embed_dim
    assert known.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert known.num_active_parameters == alone.num_active_parameters + router
    assert known.num_matrix_parameters == alone.num_matrix_parameters + router
    assert known.training_flops_per_token == alone.training_flops_per_token + 6 * router
    assert alone.num_active_parameters == alone.num_parameters - dense.vocab_size * dense.embed_dim
    tied = cost(dense.model_copy(update={"tie_embeddings": True}))
    assert tied.num_active_parameters == tied.num_parameters == alone.num_active_parameters


def test_without_a_width_a_token_costs_about_as_much_as_in_a_dense_model() -> None:
    wide = {"vocab_size": 50, "embed_dim": 768}
    for dense, activation in (("gated", "swiglu"), ("mlp", "relu2")):
        alone = cost(preset("smith", **wide, feedforward=dense)).training_flops_per_token
        chosen = cost(preset("smith", **wide, feedforward={"kind": "experts", "activation": activation}))
        assert alone <= chosen.training_flops_per_token <= 1.05 * alone


def test_adapters_and_int8_reach_every_expert() -> None:
    dense = build(feedforward=FOUR)
    tuned = with_adapters(dense, LoraLinearSettings(targets=["feedforward.gate"], rank=2))
    adapted = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert len(adapted) == 2 * 2 * 4
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
        close(merge_lora(tuned)(some_ids()), tuned(some_ids()))
        small = quantize(dense)
        assert small.blocks[0].feedforward.experts[3].gate.weight.dtype == torch.int8
        assert small.blocks[0].feedforward.router.weight.is_floating_point()
        fast = quantize(build(feedforward=FOUR).float())
        exact = fast(some_ids())
        fast.config.linear.prepare_for_decoding(fast)
        assert 0 < float((fast(some_ids()) - exact).abs().mean()) < 0.2 * float(exact.std())


def test_output_projections_of_experts_begin_at_zero() -> None:
    model = GPT(preset("smith", vocab_size=VOCAB, embed_dim=64, num_layers=2, feedforward=FOUR), seed=1)
    assert not any(expert.output.weight.any() for block in model.blocks for expert in block.feedforward.experts)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"experts_per_token": 5}, "experts_per_token=5 is more than num_experts=4"),
        ({"activation": "swoglu"}, "activation"),
        ({"num_experts": 0}, "num_experts"),
    ],
)
def test_odd_settings_are_refused(table: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        preset("smith", vocab_size=8, feedforward=FOUR | table)


SHARED = FOUR | {"num_shared_experts": 2, "shared_gate": True, "balance_rate": 0.01}


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_shared_experts_and_biases_keep_the_contract(check: Callable[[GPT], None]) -> None:
    model = build(feedforward=SHARED)
    for block in model.blocks:
        block.feedforward.choice_bias.data *= 0.01  # drawn as all parameters are, some experts would never be chosen
    check(model)


def test_shared_experts_compute_every_token_weighed_by_their_gate() -> None:
    half = build(feedforward=SHARED).blocks[0].feedforward
    x = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        together = half(x)
        gate = torch.sigmoid(x @ half.shared_gate.weight.T)
        shared, half.shared = half.shared, None
        close(together, half(x) + gate * shared(x), atol=1e-12)
    assert shared.output.weight.shape == (32, 48)


def test_a_bias_changes_the_choice_and_not_the_weights() -> None:
    half = build(feedforward=FOUR | {"balance_rate": 0.001, "renormalize": False}).blocks[0].feedforward
    x = torch.randn(1, 3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        half.choice_bias.copy_(torch.tensor([0.0, 2.0, 0.0, 1.0]))
        probabilities = half.router(x).softmax(-1)
        expected = sum(probabilities[..., number, None] * half.experts[number](x) for number in (1, 3))
        close(half(x), expected, atol=1e-12)


def test_the_cost_of_shared_experts_counts_for_every_token() -> None:
    plain, shared = (
        cost(preset("smith", vocab_size=64, embed_dim=64, num_layers=2, num_heads=2, feedforward=feedforward))
        for feedforward in (FOUR, FOUR | {"num_shared_experts": 1})
    )
    extra = 2 * 3 * 64 * 24
    assert shared.num_parameters - plain.num_parameters == extra
    assert shared.num_active_parameters - plain.num_active_parameters == extra


def test_a_gate_needs_shared_experts() -> None:
    with pytest.raises(UserError, match="shared_gate=true has nothing to weigh"):
        preset("smith", feedforward=FOUR | {"shared_gate": True})
