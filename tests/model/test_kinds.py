"""What holds for every kind of attention, position and norm, in every combination."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import product

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.kinds import Kinds
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from tests.model.contracts import (
    ATTENTION_CHECKS,
    CONTEXT,
    build,
    check_linear,
    check_pattern,
    check_tokens_apart,
    some_ids,
)

COMBINATIONS = list(product(attention.KINDS.names(), position.KINDS.names(), norm.KINDS.names()))


@pytest.mark.parametrize(("attention_kind", "position_kind", "norm_kind"), COMBINATIONS)
@pytest.mark.parametrize("check", ATTENTION_CHECKS)
def test_every_combination_keeps_the_contract(
    attention_kind: str, position_kind: str, norm_kind: str, check: Callable[[GPT], None]
) -> None:
    check(build(attention_kind, position_kind, norm_kind))


@pytest.mark.parametrize("position_kind", position.KINDS.names())
@pytest.mark.parametrize("attention_kind", attention.KINDS.names())
def test_where_a_query_looks_says_what_it_finds(attention_kind: str, position_kind: str) -> None:
    check_pattern(build(attention_kind, position_kind))


@pytest.mark.parametrize("kind", ["full", "sliding_window"])
@pytest.mark.parametrize("check", [*ATTENTION_CHECKS, check_pattern])
def test_sinks_keep_the_contract(kind: str, check: Callable[[GPT], None]) -> None:
    table = {"kind": kind, "num_kv_heads": 2, "sinks": True} | ({"window_size": 5} if kind != "full" else {})
    check(build(attention=table))


def test_a_window_bounds_what_is_attended_to() -> None:
    shape = build("sliding_window").config
    assert [shape.attention.visible_tokens(layer, CONTEXT) for layer in range(2)] == [CONTEXT, 5]
    wide, narrow = cost(build().config), cost(shape)
    dim = shape.num_heads * shape.resolved_head_dim
    assert wide.decoding_flops_per_token - narrow.decoding_flops_per_token == 4 * dim * (CONTEXT - 5)
    # Of a text of T tokens each sees w - w^2 / 2T on average.
    unseen = CONTEXT / 2 - (5 - 25 / (2 * CONTEXT))
    assert wide.training_flops_per_token - narrow.training_flops_per_token == int(3 * 4 * dim * unseen)


@pytest.mark.parametrize("feedforward_kind", feedforward.KINDS.names())
@pytest.mark.parametrize("norm_kind", norm.KINDS.names())
def test_feedforward_and_norm_compute_each_token_by_itself(feedforward_kind: str, norm_kind: str) -> None:
    check_tokens_apart(build(norm_kind=norm_kind, feedforward={"kind": feedforward_kind}))


@pytest.mark.parametrize("kind", linear.KINDS.names())
def test_a_linear_layer_multiplies_with_its_matrix(kind: str) -> None:
    check_linear(build(linear={"kind": kind}))


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
