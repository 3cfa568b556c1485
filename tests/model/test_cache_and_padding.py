"""Caches and padding in the shapes that the default does not have, and where they end."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model import attention, position
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache

CONTEXT = 24


def build(attention_kind: str = "full", position_kind: str = "learned", **changes: object) -> GPT:
    """A tiny float64 model of GPT-1's order, with random weights everywhere."""
    kind = {"kind": attention_kind, "num_kv_heads": 2, "bias": True}
    if attention_kind == "sliding_window":
        kind["window_size"] = 4
    table = {
        "vocab_size": 50, "context_length": CONTEXT, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": kind, "position": {"kind": position_kind}, "norm": {"kind": "layernorm"},
        "feedforward": {"kind": "mlp", "bias": True}, "norm_placement": "post", "tie_embeddings": True, **changes,
    }  # fmt: skip
    model = GPT(GPTConfig.parse(table)).double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4)
    return model


def some_ids(rows: int = 2, length: int = 16) -> Tensor:
    return torch.randint(50, (rows, length), generator=torch.Generator().manual_seed(0))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("attention_kind", "position_kind"), list(product(attention.KINDS.names(), position.KINDS.names()))
)
@torch.no_grad()
def test_norms_after_each_half_keep_every_promise(attention_kind: str, position_kind: str) -> None:
    model, ids = build(attention_kind, position_kind), some_ids()
    alone = model(ids)
    changed = ids.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 50
    close(model(changed)[:, :9], alone[:, :9])
    assert (model(changed)[:, 9:] - alone[:, 9:]).abs().max() > 1e-3

    cache = Cache(model.config, 2, CONTEXT, dtype=torch.float64)
    ends = [0, 6, 10, *range(11, 17)]
    pieces = [model(ids[:, a:b], cache=cache) for a, b in pairwise(ends)]
    close(torch.cat(pieces, dim=1), alone)

    filler, one, zero = torch.full((2, 4), 3), torch.ones(2, 16), torch.zeros(2, 4)
    close(model(torch.cat((filler, ids), 1), torch.cat((zero, one), 1))[:, 4:], alone)
    close(model(torch.cat((ids, filler), 1), torch.cat((one, zero), 1))[:, :16], alone)


@pytest.mark.parametrize("attention_kind", attention.KINDS.names())
@pytest.mark.parametrize("position_kind", ["learned", "rotary", "alibi"])
@torch.no_grad()
def test_rows_of_different_lengths_decode_as_if_alone(attention_kind: str, position_kind: str) -> None:
    """Left padding of a length of its own in each row, the prompt in two pieces, then token by token."""
    model, ids = build(attention_kind, position_kind, norm_placement="pre"), some_ids(3)
    pads = [0, 3, 5]
    rows = [torch.cat((torch.full((pad,), 49), row[: 16 - pad])) for pad, row in zip(pads, ids, strict=True)]
    mask = torch.stack([torch.arange(16) >= pad for pad in pads]).long()
    padded, cache = torch.stack(rows), Cache(model.config, 3, CONTEXT, dtype=torch.float64)
    ends = [0, 7, 11, *range(12, 17)]
    pieces = [model(padded[:, a:b], mask[:, :b], cache) for a, b in pairwise(ends)]
    logits = torch.cat(pieces, dim=1)
    for row, pad in enumerate(pads):
        close(logits[row, pad:], model(ids[row : row + 1, : 16 - pad])[0])


@torch.no_grad()
def test_a_full_cache_and_a_full_context_are_refused() -> None:
    model, ids = build(), some_ids(1, CONTEXT)
    cache = Cache(model.config, 1, 10, dtype=torch.float64)
    model(ids[:, :10], cache=cache)
    with pytest.raises(UserError, match="11 tokens do not fit in a cache for 10"):
        model(ids[:, 10:11], cache=cache)
    cache = Cache(model.config, 1, CONTEXT + 1, dtype=torch.float64)
    model(ids, cache=cache)
    with pytest.raises(UserError, match="25 tokens do not fit in a context of 24"):
        model(ids[:, :1], cache=cache)


@torch.no_grad()
def test_query_heads_that_share_keys_stand_side_by_side() -> None:
    """Heads 0 and 1 read key head 0; heads 2 and 3 read key head 1."""
    grouped, whole = (
        build(norm_placement="pre"),
        build(norm_placement="pre", attention={"kind": "full", "bias": True}),
    )
    weights = grouped.state_dict()
    for name in list(weights):
        if ".attention.key." in name or ".attention.value." in name:
            heads = weights[name].unflatten(0, (2, 8))
            weights[name] = torch.stack((heads[0], heads[0], heads[1], heads[1])).flatten(0, 1)
    whole.load_state_dict(weights)
    close(grouped(some_ids()), whole(some_ids()))


@torch.no_grad()
def test_the_compute_dtype_is_neither_that_of_the_weights_nor_on_a_cpu_that_of_the_logits() -> None:
    model = build().float()
    exact = model(some_ids())
    model.compute_dtype = torch.bfloat16
    rough = model(some_ids())
    assert model.hidden(some_ids()).dtype == torch.bfloat16
    assert (rough.dtype, model.embedding.weight.dtype) == (torch.float32, torch.float32)
    error = (rough.float() - exact).norm() / exact.norm()
    assert 1e-5 < error < 0.05
