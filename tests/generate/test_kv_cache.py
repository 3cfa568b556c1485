"""The paged KV cache: whatever comes, is shared, cancelled or preempted, texts are those of each request alone, and in
the end every block is free."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from gptsmith.generate import scheduler
from gptsmith.generate.block_pool import INT8_MAX, BlockPool, quantized
from gptsmith.generate.engine import Engine, EngineFigures
from gptsmith.generate.kv_cache import PagedKVCache
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.request import OutputChunk, Request, RequestHandle
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.gpt import GPT

from .test_engine import CONTEXT, MODEL, TOKENIZER, model_of, plain, run, together, tokens_of

GREEDY = SamplingSettings(temperature=0)
WINDOWED = model_of(attention={"kind": "sliding_window", "window_size": 9}, context_length=CONTEXT)


@dataclass
class Client:
    """A request, and when it comes and is cancelled."""

    request: Request
    comes_at: int
    cancelled_at: int
    handle: RequestHandle | None = None
    chunks: list[OutputChunk] = field(default_factory=list)


def some_clients(seed: int) -> list[Client]:
    """Clients whose prompts begin alike, also in the middle of a block, and some of which go away."""
    chance = random.Random(seed)
    beginnings = [[chance.randrange(256) for _ in range(length)] for length in (9, 26, 40)]
    clients = []
    for number in range(8):
        beginning = chance.choice(beginnings)
        prompt = [*beginning[: chance.randrange(1, len(beginning) + 1)], *chance.choices(range(256), k=number % 4)]
        room = CONTEXT - len(prompt)
        request = Request(prompt, chance.randrange(1, min(room, 24)), GREEDY, ignore_end=True)
        comes_at = chance.randrange(20)
        cancelled_at = comes_at + chance.randrange(25) if number % 3 == 0 else 10**6
        clients.append(Client(request, comes_at, cancelled_at))
    return clients


def served(engine: Engine, clients: list[Client]) -> Iterator[EngineFigures]:
    """The figures after each step of an engine until the last of the clients has its answer."""
    step = 0
    while engine.has_work or any(client.handle is None for client in clients):
        for client in clients:
            if client.comes_at == step:
                client.handle = engine.submit(client.request, client.chunks.append)
            if client.cancelled_at == step and client.handle is not None:
                client.handle.cancel()
        engine.step()
        yield engine.figures()
        step += 1
        assert step < 2000, "it goes on for ever"


@pytest.mark.parametrize("model", [MODEL, WINDOWED], ids=["full", "windowed"])
def test_after_any_company_every_block_is_free(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "HEADROOM_TOKENS", 1)
    settings = EngineSettings(max_num_seqs=5, kv_block_size=4, max_prefill_tokens=8)
    whole = KVCacheMemory.of(model.config, torch.float32, settings).bytes_of(72)
    preemptions = cached = shared = 0
    for seed in range(3):
        bound = settings.model_copy(update={"kv_cache_bytes": whole + seed * whole // 8})
        engine, clients = Engine(model, TOKENIZER, settings=bound), some_clients(seed)
        for figures in served(engine, clients):
            shared = max(shared, figures.num_shared_kv_blocks)
        for client in clients:
            alone, found = plain(client.request, model), tokens_of(client.chunks)
            is_cancelled = client.chunks[-1].finish_reason == "cancelled"
            assert found == (alone[: len(found)] if is_cancelled else alone)
        engine._scheduler.forget_prefixes()
        for pool in engine.kv_cache.pools:
            assert (pool.num_used, pool.num_shared, pool.num_free) == (0, 0, pool.num_blocks)
        preemptions, cached = preemptions + figures.num_preemptions, cached + figures.num_cached_tokens
    assert preemptions > 0 or model is WINDOWED
    assert cached > 0
    assert shared > 0


def test_layers_with_a_window_keep_its_blocks_alone() -> None:
    engine = Engine(WINDOWED, TOKENIZER, settings=EngineSettings(kv_block_size=4, max_prefill_tokens=8))
    request = Request([1] * 50, 40, GREEDY, ignore_end=True)
    chunks: list[OutputChunk] = []
    engine.submit(request, chunks.append)
    most = [0, 0]
    while engine.has_work:
        engine.step()
        most = [max(one, pool.num_used) for one, pool in zip(most, engine.kv_cache.pools, strict=True)]
    windows = [group.window for group in engine.kv_memory.groups]
    assert windows == [None, 9]
    assert most == [-(-89 // 4), 4]
    assert engine.kv_memory.groups[1].most_blocks == -(-(9 + 8) // 4) + 1
    assert tokens_of(chunks) == plain(request, WINDOWED)


def test_memory_that_one_group_leaves_is_given_back_for_another() -> None:
    settings = EngineSettings(kv_block_size=4, kv_cache_bytes=40 * 4 * 512)
    memory = KVCacheMemory.of(WINDOWED.config, torch.float32, settings)
    cache = PagedKVCache(WINDOWED.config, memory, device=torch.device("cpu"), max_num_seqs=4)
    many_windows = [cache.new_table() for _ in range(4)]
    for table in many_windows:
        assert cache.extend(table, 0, 16)
        cache.release(table)
    table = cache.new_table()
    for end in range(4, 72, 4):
        table.num_written = end - 4
        assert cache.extend(table, end - 4, end)
    touched = memory.block_bytes([pool.num_touched for pool in cache.pools])
    assert touched <= 40 * 4 * 512
    assert cache.pools[0].num_used == 17


def test_a_shared_block_is_copied_by_whoever_writes_to_it() -> None:
    memory = KVCacheMemory.of(MODEL.config, torch.float32, EngineSettings(kv_block_size=4))
    cache = PagedKVCache(MODEL.config, memory, device=torch.device("cpu"), max_num_seqs=2)
    table = cache.new_table()
    assert cache.extend(table, 0, 10)
    [[first, second, third]] = table.blocks
    cache.keys[0].blocks[third] = 7
    other = cache.share(table, 10)
    assert other is not None
    assert cache.pools[0].num_shared == 3
    assert cache.extend(other, 10, 11)
    assert other.blocks[0][:2] == [first, second]
    assert other.blocks[0][2] != third
    assert bool((cache.keys[0].blocks[other.blocks[0][2]] == 7).all())
    assert cache.extend(table, 10, 11)
    assert table.blocks == [[first, second, third]]
    cache.release(table)
    cache.release(other)
    assert (cache.pools[0].num_used, cache.pools[0].num_shared) == (0, 0)


def test_the_lowest_free_block_is_taken_and_the_highest_given_back() -> None:
    pool = BlockPool(6)
    assert [pool.take() for _ in range(5)] == [0, 1, 2, 3, 4]
    for block in (3, 1, 4):
        assert pool.drop(block)
    assert (pool.give_back(), pool.num_touched, pool.num_used, pool.num_free) == (4, 4, 2, 4)
    assert [pool.take() for _ in range(4)] == [1, 3, 4, 5]
    assert pool.give_back() is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_integer_differs_from_its_number_by_half_a_scale_at_most(dtype: torch.dtype) -> None:
    rows = torch.randn(50, 3, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    rows[0] = 0
    rows[1] *= 1e-30
    integers, scales = quantized(rows)
    error = (integers * scales[..., None] - rows.float()).abs()
    assert bool((error <= scales[..., None] * (0.5 + (0.01 if dtype != torch.bfloat16 else 1))).all())
    torch.testing.assert_close(scales, rows.abs().amax(-1).float() / INT8_MAX, rtol=1e-6, atol=1e-37)


class RoundedAttention:
    """The plain twin of an int8 cache: keys and values are rounded as soon as they are made."""

    def __init__(self, project: Any) -> None:
        self.project = project

    def __call__(self, x: Tensor, positions: Any) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values = self.project(x, positions)
        rounded = [integers * scales[..., None] for integers, scales in map(quantized, (keys, values))]
        return queries, rounded[0].to(keys.dtype), rounded[1].to(values.dtype)


SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {"num_heads": 4, "attention": {"kind": "full", "num_kv_heads": 1, "qk_norm": True}},
    "window": {"attention": {"kind": "sliding_window", "window_size": 9}},
    "additive": {"attention": {"kind": "additive"}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_over_an_int8_cache_texts_are_those_of_rounded_keys_and_values(shape: str) -> None:
    model = model_of(**SHAPES[shape]).double()
    settings = EngineSettings(max_num_seqs=3, kv_block_size=4, max_prefill_tokens=24, kv_cache_dtype="int8")
    engine = Engine(model, TOKENIZER, settings=settings)
    beginning = [number * 7 % 256 for number in range(30)]
    requests = [Request([*beginning[: 10 * number], 5], 12, GREEDY, ignore_end=True) for number in range(4)]
    found = [tokens_of(chunks) for chunks in together(engine, requests)]
    assert (engine.figures().num_cached_tokens > 0) == (shape != "window")
    twin: GPT = model
    for block in twin.blocks:
        block.attention.project = RoundedAttention(block.attention.project)  # type: ignore[union-attr]
    assert found == [plain(request, twin) for request in requests]


def test_an_int8_cache_of_a_bfloat16_model() -> None:
    model = model_of().bfloat16()
    engine = Engine(model, TOKENIZER, settings=EngineSettings(kv_block_size=4, kv_cache_dtype="int8"))
    chunks: list[OutputChunk] = []
    engine.submit(Request([1] * 20, 10, GREEDY, ignore_end=True), chunks.append)
    run(engine)
    assert len(tokens_of(chunks)) == 10
