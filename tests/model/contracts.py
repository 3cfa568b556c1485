"""The contracts of the kinds that a model is made of, as checks that hold for a kind that is dropped in, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptsmith.generate.kv_cache import Segment, SlotKVCache
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.linear import fused_projections, linear_layers

CONTEXT = 24
VOCAB = 50


def build(
    attention_kind: str = "full", position_kind: str = "rotary", norm_kind: str = "rmsnorm", **changes: Any
) -> GPT:
    """A tiny float64 model whose weights are all drawn anew, so that no output projection is zero."""
    kind = {"kind": attention_kind, "num_kv_heads": 2, "qk_norm": True}
    if attention_kind == "sliding_window":
        kind["window_size"] = 5
    table = {
        "vocab_size": VOCAB, "context_length": CONTEXT, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": kind, "position": {"kind": position_kind}, "norm": {"kind": norm_kind}, **changes,
    }  # fmt: skip
    model = GPT(GPTConfig.parse(table)).double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def some_ids(rows: int = 2, length: int = 16, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def check_causal(model: GPT) -> None:
    """No token changes what the model says before it, and it changes what the model says from it on."""
    ids = some_ids()
    changed = ids.clone()
    changed[:, 9] = (changed[:, 9] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(ids), model(changed)
    close(before[:, :9], after[:, :9], atol=1e-12)
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-3


def check_cached(model: GPT) -> None:
    """Reading in pieces over a cache gives the logits of one pass."""
    ids = some_ids()
    cache = Cache(model.config, 2, CONTEXT, dtype=torch.float64)
    with torch.no_grad():
        pieces = [model(ids[:, a:b], cache=cache) for a, b in [(0, 6), (6, 10), *((n, n + 1) for n in range(10, 16))]]
        close(torch.cat(pieces, dim=1), model(ids))


def check_padding(model: GPT) -> None:
    """Padding on either side changes nothing, neither in one pass nor over a cache."""
    ids = some_ids()
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
    close(left, alone)
    close(right, alone)
    close(torch.cat(decoded, 1), alone[:, 10:])


def check_packing(model: GPT) -> None:
    """Sequences one after the other in a row are each read as if alone."""
    ids = some_ids(1)
    segments = torch.tensor([[0] * 6 + [1] * 10])
    with torch.no_grad():
        packed = model.hidden(ids, segments=segments)
        close(packed, torch.cat([model.hidden(ids[:, :6]), model.hidden(ids[:, 6:])], dim=1))


def check_slots(model: GPT) -> None:
    """Sequences of a continuous batch are each read as if alone: prompts in pieces, beside decoding, and neighbours
    that attend as one batch."""
    ids = some_ids(4)
    cache = SlotKVCache(model.config, dtype=torch.float64, device=torch.device("cpu"))
    cache.reserve(5, CONTEXT)
    passes = [
        ([Segment(0, 0, 8), Segment(1, 0, 6), Segment(2, 0, 3)], 0),
        ([Segment(0, 8, 1), Segment(1, 6, 1), Segment(2, 3, 4), Segment(3, 0, 5)], 2),
        ([Segment(0, 9, 1), Segment(1, 7, 1), Segment(2, 7, 1), Segment(3, 5, 1)], 4),
        ([Segment(0, 10, 1), Segment(2, 8, 2)], 1),
    ]
    with torch.no_grad():
        expected = model.hidden(ids)
        for segments, num_single in passes:
            cache.plan(segments, num_single)
            read = torch.cat([ids[s.slot, s.start : s.end] for s in segments])
            wanted = torch.cat([expected[s.slot, s.start : s.end] for s in segments])
            close(model.hidden(read[None], cache=cache)[0], wanted)


def check_gradients(model: GPT) -> None:
    """Training reaches every parameter."""
    model.train()
    ids = torch.arange(VOCAB)[: 2 * CONTEXT].view(2, CONTEXT)
    model(ids).square().mean().backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert [n for n, p in model.named_parameters() if p.requires_grad and n not in reached] == []


def check_tokens_apart(model: GPT) -> None:
    """A feed-forward half, and a norm, computes each token by itself, in the dtype of its input."""
    x = torch.randn(2, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for module in (model.blocks[0].feedforward, model.blocks[0].feedforward_norm):
        with torch.no_grad():
            alone = torch.stack([module(x[:, t : t + 1])[:, 0] for t in range(5)], dim=1)
            close(module(x), alone)
            assert module(x.bfloat16()).dtype == torch.bfloat16


def check_linear(model: GPT) -> None:
    """A linear layer multiplies with its `matrix`, in the dtype of its input; layers of one input may be fused."""
    for layer in linear_layers(model).values():
        bias = getattr(layer, "bias", None)
        x = torch.randn(3, layer.matrix().shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            zero = layer(torch.zeros_like(x))
            close(layer(x) - zero, x @ layer.matrix().to(x.dtype).T)
            close(zero, torch.zeros_like(zero) if bias is None else bias.expand_as(zero))
            for fused in fused_projections(x, layer, layer):
                close(fused, layer(x))
            assert layer(x.bfloat16()).dtype == torch.bfloat16


ATTENTION_CHECKS = [check_causal, check_cached, check_padding, check_packing, check_slots, check_gradients]
"""What holds for every kind of attention, position and norm, in every combination."""

MODEL_CHECKS = [*ATTENTION_CHECKS, check_tokens_apart, check_linear]
"""What holds for a model of any kinds."""
