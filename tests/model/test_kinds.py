"""What holds for every kind of attention, position and norm, in every combination."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.kinds import Kinds
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.layout import Layout
from gptsmith.model.position import Positions
from tests.model.contracts import ATTENTION_CHECKS, build, some_ids

COMBINATIONS = list(product(attention.KINDS.names(), position.KINDS.names(), norm.KINDS.names()))
FEEDFORWARDS = [("mlp", name) for name in ("gelu", "gelu_tanh", "relu", "relu2")]
FEEDFORWARDS += [("gated", name) for name in ("swiglu", "geglu")]


@pytest.mark.parametrize(("attention_kind", "position_kind", "norm_kind"), COMBINATIONS)
@pytest.mark.parametrize("check", ATTENTION_CHECKS)
def test_every_combination_keeps_the_contract(
    attention_kind: str, position_kind: str, norm_kind: str, check: Callable[[GPT], None]
) -> None:
    check(build(attention_kind, position_kind, norm_kind))


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize(("kind", "activation"), FEEDFORWARDS)
def test_every_feedforward_learns(placement: str, kind: str, activation: str) -> None:
    model = build(feedforward={"kind": kind, "activation": activation, "bias": True}, norm_placement=placement)
    x = torch.linspace(-2, 2, 32 * 3, dtype=torch.float64).view(1, 3, 32)
    half = model.blocks[0].feedforward
    known = {
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": torch.nn.GELU("tanh"),
        "relu": torch.relu,
        "relu2": lambda v: torch.relu(v) ** 2,
        "swiglu": lambda v: v * torch.sigmoid(v),
        "geglu": torch.nn.functional.gelu,
    }[activation]
    hidden = known(half.gate(x)) * half.input(x) if kind == "gated" else known(half.input(x))
    torch.testing.assert_close(half(x), half.output(hidden), rtol=0, atol=1e-12)
    model(some_ids()).mean().backward()
    assert all(p.grad is not None for p in half.parameters())


@pytest.mark.parametrize("kinds", [attention.KINDS, position.KINDS, feedforward.KINDS, norm.KINDS, linear.KINDS])
def test_a_file_is_a_kind_of_its_name(kinds: Kinds) -> None:
    for name in kinds.names():
        assert kinds.validate(name).kind == name
        assert importlib.import_module(f"{kinds.package}.{name}").__doc__


def test_what_has_no_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean rotary"):
        build(position_kind="rotery")


def test_grouped_queries_are_heads_that_share_their_keys() -> None:
    grouped = build(attention={"kind": "full", "num_kv_heads": 1})
    whole = build(attention={"kind": "full"})
    weights = grouped.state_dict()
    for name in list(weights):
        if ".attention.key." in name or ".attention.value." in name:
            weights[name] = weights[name].repeat(4, 1)
    whole.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(grouped(some_ids()), whole(some_ids()), rtol=0, atol=1e-12)


def projected(model: GPT, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    half = model.blocks[1].attention
    return tuple(m(x).view(1, x.shape[1], 4, 8).transpose(1, 2) for m in (half.query, half.key, half.value))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["full", "sliding_window", "additive", "residual_query"])
def test_attention_equals_its_equation(kind: str) -> None:
    table: dict = {"kind": kind}
    if kind == "sliding_window":
        table["window_size"] = 5
    model = build(attention=table, position={"kind": "none"})
    half = model.blocks[1].attention
    x = torch.randn(1, 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    q, k, v = projected(model, x)
    expected = torch.zeros_like(q)
    for head in range(4):
        for t in range(12):
            first = max(0, t - 4) if kind == "sliding_window" else 0
            if kind == "additive":
                scores = torch.stack(
                    [half.score[head] @ torch.tanh(q[0, head, t] + k[0, head, s]) for s in range(t + 1)]
                )
            else:
                scores = torch.stack([q[0, head, t] @ k[0, head, s] / 8**0.5 for s in range(first, t + 1)])
            expected[0, head, t] = scores.softmax(0) @ v[0, head, first : t + 1]
            if kind == "residual_query":
                expected[0, head, t] += q[0, head, t]
    expected = half.output(expected.transpose(1, 2).reshape(1, 12, 32))
    layout = Layout.causal(12, torch.device("cpu"))
    actual = half(x, Positions.of(model.position, layout), None)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


def test_sliding_window_layers_alternate_with_full_ones() -> None:
    from gptsmith.model.attention.sliding_window import SlidingWindowAttention

    model = build("sliding_window", num_layers=4)
    assert [isinstance(block.attention, SlidingWindowAttention) for block in model.blocks] == [False, True, False, True]


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UserError, match="num_heads=3 does not divide embed_dim=32"):
        GPTConfig.parse({"vocab_size": 10, "embed_dim": 32, "num_layers": 1, "num_heads": 3})
    with pytest.raises(UserError, match="num_kv_heads=3 does not divide num_heads=4"):
        build(attention={"kind": "full", "num_kv_heads": 3})


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(UserError, match="25 tokens do not fit in a context of 24"):
        build()(some_ids(1, 25))


def test_dropout_drops_in_training_only() -> None:
    model, ids = build(dropout=0.5), some_ids()
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))
