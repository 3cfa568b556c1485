"""What holds for every kind of attention, position and norm, in every combination."""

from __future__ import annotations

import importlib
from itertools import product

import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.kinds import Kinds
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache

CONTEXT = 24
COMBINATIONS = list(product(attention.KINDS.names(), position.KINDS.names(), norm.KINDS.names()))
FEEDFORWARDS = [("mlp", name) for name in ("gelu", "gelu_tanh", "relu", "relu2")]
FEEDFORWARDS += [("gated", name) for name in ("swiglu", "geglu")]


def build(
    attention_kind: str = "full", position_kind: str = "rotary", norm_kind: str = "rmsnorm", **changes: object
) -> GPT:
    """A tiny float64 model whose weights are all drawn anew, so that no output projection is zero."""
    kind = {"kind": attention_kind, "num_kv_heads": 2, "qk_norm": True}
    if attention_kind == "sliding_window":
        kind["window_size"] = 5
    table = {
        "vocab_size": 50, "context_length": CONTEXT, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": kind, "position": {"kind": position_kind}, "norm": {"kind": norm_kind}, **changes,
    }  # fmt: skip
    model = GPT(GPTConfig.parse(table)).double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def some_ids(rows: int = 2, length: int = 16, seed: int = 0) -> Tensor:
    return torch.randint(50, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("attention_kind", "position_kind", "norm_kind"), COMBINATIONS)
class TestEveryCombination:
    def test_is_causal(self, attention_kind: str, position_kind: str, norm_kind: str) -> None:
        model, ids = build(attention_kind, position_kind, norm_kind), some_ids()
        changed = ids.clone()
        changed[:, 9] = (changed[:, 9] + 1) % 50
        with torch.no_grad():
            before, after = model(ids), model(changed)
        torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-12)
        assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3

    def test_cached_decoding_equals_the_full_pass(
        self, attention_kind: str, position_kind: str, norm_kind: str
    ) -> None:
        model, ids = build(attention_kind, position_kind, norm_kind), some_ids()
        cache = Cache(model.config, 2, CONTEXT, dtype=torch.float64)
        with torch.no_grad():
            pieces = [
                model(ids[:, a:b], cache=cache) for a, b in [(0, 6), (6, 10), *((n, n + 1) for n in range(10, 16))]
            ]
            torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=0, atol=1e-10)

    def test_padding_changes_nothing(self, attention_kind: str, position_kind: str, norm_kind: str) -> None:
        model, ids = build(attention_kind, position_kind, norm_kind), some_ids()
        filler = torch.full((2, 4), 3)
        ones, zeros = torch.ones(2, 16, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long)
        with torch.no_grad():
            alone = model(ids)
            left = model(torch.cat((filler, ids), 1), torch.cat((zeros, ones), 1))[:, 4:]
            right = model(torch.cat((ids, filler), 1), torch.cat((ones, zeros), 1))[:, :16]
            cache = Cache(model.config, 2, CONTEXT, dtype=torch.float64)
            mask = torch.cat((zeros, ones), 1)
            model(torch.cat((filler, ids[:, :10]), 1), mask[:, :14], cache)
            decoded = [model(ids[:, n : n + 1], mask[:, : 5 + n], cache) for n in range(10, 16)]
        torch.testing.assert_close(left, alone, rtol=0, atol=1e-10)
        torch.testing.assert_close(right, alone, rtol=0, atol=1e-10)
        torch.testing.assert_close(torch.cat(decoded, 1), alone[:, 10:], rtol=0, atol=1e-10)

    def test_gradients_reach_every_parameter(self, attention_kind: str, position_kind: str, norm_kind: str) -> None:
        model = build(attention_kind, position_kind, norm_kind).train()
        ids = torch.arange(50)[: 2 * CONTEXT].view(2, CONTEXT)
        model(ids).square().mean().backward()
        unreached = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert unreached == []


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
    from gptsmith.model.position import Positions

    ids = torch.arange(12)
    actual = half(x, Positions.of(model.position, ids, ids), None, None)
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
