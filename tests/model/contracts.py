"""The contracts of the kinds that a model is made of, as checks that hold for a kind that is dropped in, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.linear import fused_projections, linear_layers
from gptsmith.model.taps import tapped

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


def check_paged(model: GPT) -> None:
    """Sequences of a continuous batch are each read as if alone over blocks of four tokens: prompts in pieces, beside
    decoding, sequences of other lengths that attend as one batch, several tokens that are verified at once, and a
    beginning that two of them share up to the middle of a block."""
    ids = some_ids(4)
    ids[3, :6] = ids[1, :6]
    memory = KVCacheMemory.of(model.config, torch.float64, EngineSettings(kv_block_size=4, max_prefill_tokens=8))
    cache = PagedKVCache(model.config, memory, device=torch.device("cpu"), max_num_seqs=5)
    tables = [cache.new_table() for _ in range(3)]
    passes = [
        [(0, 0, 8), (1, 0, 6), (2, 0, 3)],
        [(1, 6, 1), (3, 6, 1), (2, 3, 4)],
        [(0, 8, 1), (1, 7, 1), (2, 7, 2), (3, 7, 5)],
        [(1, 8, 1), (0, 9, 1), (2, 9, 1), (3, 12, 1)],
        [(0, 10, 1), (1, 9, 2)],
    ]
    with torch.no_grad():
        expected = model.hidden(ids)
        for number, read in enumerate(passes):
            if number == 1:
                shared = cache.share(tables[1], 6)
                assert shared is not None
                tables.append(shared)
            segments = [Segment(tables[row], start, count) for row, start, count in read]
            assert all(cache.extend(s.table, s.start, s.end) for s in segments)
            cache.plan(segments)
            tokens = torch.cat([ids[row, start : start + count] for row, start, count in read])
            wanted = torch.cat([expected[row, start : start + count] for row, start, count in read])
            close(model.hidden(tokens[None], cache=cache)[0], wanted)
    for table in tables:
        cache.release(table)
    assert [(pool.num_used, pool.num_shared) for pool in cache.pools] == [(0, 0)] * len(cache.pools)


def check_pattern(model: GPT) -> None:
    """Where a query looks says what it finds, however the tokens are laid out: alone, padded, packed, over a cache."""
    ids = some_ids()
    mask = torch.ones_like(ids)
    mask[0, :3] = mask[1, 13:] = 0
    segments = torch.tensor([[0] * 6 + [1] * 10, [0] * 11 + [1] * 5])
    for how in ({}, {"attention_mask": mask}, {"segments": segments}):
        fast, _ = _heads(model, ids, looks=False, **how)
        plain, pattern = _heads(model, ids, looks=True, **how)
        close(plain, fast)
        assert pattern.triu(1).count_nonzero() == 0
        assert pattern.sum(dim=-1).max() < 1 + 1e-12
    whole = _heads(model, ids, looks=True)[1]
    cache = Cache(model.config, 2, CONTEXT, dtype=torch.float64)
    for start, stop in [(0, 6), (6, 15), (15, 16)]:
        piece = _heads(model, ids[:, start:stop], looks=True, cache=cache)[1]
        close(piece, whole[..., start:stop, :stop])


def _heads(model: GPT, ids: Tensor, *, looks: bool, **how: Any) -> tuple[Tensor, Tensor]:
    """What the heads of all layers find (L, B, H, T, D), and where they look (L, B, H, T, S) if that is asked for."""
    points = ("heads", "pattern") if looks else ("heads",)
    found: dict[str, list[Tensor]] = {point: [] for point in ("heads", "pattern")}
    functions = {
        f"blocks.{layer}.attention.{point}": found[point].append
        for layer in range(len(model.blocks))
        for point in points
    }
    with torch.no_grad(), tapped(model, functions) as copied:
        copied.hidden(ids, **how)
    return torch.stack(found["heads"]), torch.stack(found["pattern"] or found["heads"])


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


ATTENTION_CHECKS = [check_causal, check_cached, check_padding, check_packing, check_paged, check_gradients]
"""What holds for every kind of attention, position and norm, in every combination."""

MODEL_CHECKS = [*ATTENTION_CHECKS, check_pattern, check_tokens_apart, check_linear]
"""What holds for a model of any kinds."""
