"""Slots, prefix caching and memory: what a pass reads is as little as it can be, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.machine import memory_bytes
from gptsmith.generate import kv_cache
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.kv_cache import Segment, SlotKVCache
from gptsmith.generate.request import OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings, sample_from_uniform, uniform
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import lazy_zeros
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.transform import quantize

from .test_engine import CONTEXT, MODEL, TOKENIZER, model_of, plain, run, tokens_of

GREEDY = SamplingSettings(temperature=0)
PROMPT = [number * 7 % 256 for number in range(40)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Segment], int]]:
    """What passes read: their segments, and how many sequences have a single token."""
    seen: list[tuple[list[Segment], int]] = []
    plan = SlotKVCache.plan

    def spy(cache: SlotKVCache, segments: list[Segment], num_single: int) -> None:
        seen.append((list(segments), num_single))
        plan(cache, segments, num_single)

    monkeypatch.setattr(SlotKVCache, "plan", spy)
    return seen


def generated(engine: Engine, requests: list[Request]) -> list[list[int]]:
    chunks: list[list[OutputChunk]] = [[] for _ in requests]
    for request, own in zip(requests, chunks, strict=True):
        engine.submit(request, own.append)
    run(engine)
    return [tokens_of(own) for own in chunks]


def test_a_prefix_is_read_once_for_sequences_that_come_together(passes: list[tuple[list[Segment], int]]) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=8, max_prefill_slowdown=inf))
    requests = [Request(PROMPT, 12, seed=seed, ignore_end=True) for seed in range(6)]
    assert generated(engine, requests) == [plain(request) for request in requests]
    assert [(s.start, s.count) for s in passes[0][0]] == [(0, len(PROMPT))]
    assert sorted(s.count for s in passes[1][0]) == [1] * 6
    assert engine.figures().num_cached_tokens == 5 * (len(PROMPT) - 1)


def test_sequences_stay_neighbours_when_others_end(passes: list[tuple[list[Segment], int]]) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=8, speculative_max_batch_size=0))
    requests = [
        Request([number + 1], length, seed=number, ignore_end=True)
        for number, length in enumerate([4, 30, 6, 30, 9, 30])
    ]
    assert generated(engine, requests) == [plain(request) for request in requests]
    for segments, num_single in passes:
        assert num_single == len(segments)
        assert [segment.slot for segment in segments] == list(range(len(segments)))


def test_a_slot_that_was_moved_keeps_its_prefix() -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=2))
    first, second = Request(PROMPT, 2, GREEDY, ignore_end=True), Request([9], 30, GREEDY, ignore_end=True)
    generated(engine, [first, second])
    before = engine.figures().num_cached_tokens
    again = Request([*PROMPT, 3], 5, GREEDY, ignore_end=True)
    assert generated(engine, [again]) == [plain(again)]
    assert engine.figures().num_cached_tokens - before == len(PROMPT)


def test_one_text_needs_memory_for_itself_alone(thread: EngineThread) -> None:
    def num_bytes(engine: Engine) -> int:
        return sum(layer.numel() for layer in (*engine.kv_cache.keys, *engine.kv_cache.values))

    per_token = 2 * MODEL.config.num_layers * MODEL.config.num_kv_heads * MODEL.config.resolved_head_dim
    engine = Engine(MODEL, TOKENIZER)
    assert num_bytes(engine) == 0
    generated(engine, [Request([1] * 5, 6, ignore_end=True)])
    assert num_bytes(engine) == 11 * per_token
    generated(engine, [Request([2], 5, ignore_end=True, slide=True)])
    assert num_bytes(engine) == CONTEXT * per_token
    served = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=3), thread=thread)
    assert num_bytes(served) == 3 * CONTEXT * per_token
    served.close()


@pytest.fixture
def thread() -> Iterator[EngineThread]:
    made = EngineThread()
    yield made
    made.close()


def test_a_model_is_shared_and_stays_as_it_is() -> None:
    model = quantize(model_of()).train()
    before = {name: type(module) for name, module in model.named_modules()}
    engine = Engine(model, TOKENIZER)
    generated(engine, [Request([1], 3)])
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert model.training
    assert not engine.model.training
    assert engine.model.embedding.weight is model.embedding.weight
    assert isinstance(engine.model.head, PackedLinear)
    assert isinstance(inference_model(engine.model).head, PackedLinear)
    assert not isinstance(Engine(model, int8_matmul=False).model.head, PackedLinear)


def test_a_text_that_slides_is_the_same_in_company() -> None:
    requests = [Request([number], 150, seed=number, slide=True, ignore_end=True) for number in range(3)]
    requests.append(Request([9] * 50, 20, ignore_end=True))
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=4, max_prefill_tokens=16))
    assert generated(engine, requests) == [slid(request, MODEL) for request in requests]


def slid(request: Request, model: GPT) -> list[int]:
    """The twin: half of a full context is kept and read anew."""
    ids, written = list(request.prompt_ids), []
    while len(written) < request.max_tokens:
        if len(ids) > CONTEXT:
            ids = ids[-(CONTEXT // 2) :]
        one = Request(ids, 1, request.sampling, ignore_end=True)
        written += next_token(one, model, request.seed, len(written))
        ids.append(written[-1])
    return written


def next_token(request: Request, model: GPT, seed: int, position: int) -> list[int]:
    with torch.no_grad():
        logits = model(torch.tensor([list(request.prompt_ids)]))[0, -1].float()
    logits[sorted(TOKENIZER.end_ids)] = float("-inf")
    return sample_from_uniform(logits[None], request.sampling, [uniform(seed, 0, position)]).tolist()


def test_a_long_context_takes_up_memory_only_as_it_is_used() -> None:
    """The room would be 16 GiB."""
    cache = SlotKVCache(MODEL.config, dtype=torch.float32, device=torch.device("cpu"))
    before = memory_bytes()
    cache.reserve(16, 2**19)
    cache.plan([Segment(3, 0, 200)], 0)
    shape = 1, cache.keys[0].shape[1], 200, cache.keys[0].shape[3]
    for layer in range(MODEL.config.num_layers):
        cache.update(layer, torch.ones(shape), torch.ones(shape))
    cache.copy(3, 15, 200)
    cache.swap(3, 0, 200)
    assert all(bool((layer[[0, 15], :, :200] == 1).all()) for layer in cache.keys)
    cache.clear(0)
    assert not any(layer[0, :, :200].any() for layer in (*cache.keys, *cache.values))
    total = sum(layer.numel() * 4 for layer in (*cache.keys, *cache.values))
    after = memory_bytes()
    if before is not None and after is not None:
        assert after - before < 20_000_000 < 2_000_000_000 < total


def test_one_text_that_finds_no_memory_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(MODEL, TOKENIZER)
    reserve = SlotKVCache.reserve

    def too_much(cache: SlotKVCache, num_slots: int, capacity: int) -> None:
        if capacity > 40:
            raise MemoryError
        reserve(cache, num_slots, capacity)

    monkeypatch.setattr(SlotKVCache, "reserve", too_much)
    small, large = Request([1], 8, GREEDY, ignore_end=True), Request([1], 60, GREEDY, ignore_end=True)
    chunks: list[OutputChunk] = []
    engine.submit(large, chunks.append)
    assert generated(engine, [small]) == [plain(small)]
    assert isinstance(chunks[-1].failure, MemoryError)


def test_too_little_memory_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match="too little memory for 16 sequences") as caught:
        lazy_zeros((16, 2**20, 2**30, 64), torch.float32, "cpu")
    assert "\n" not in str(caught.value)


def test_where_not_all_can_be_had_at_once_the_cache_grows(
    monkeypatch: pytest.MonkeyPatch, thread: EngineThread
) -> None:
    zeros = kv_cache.lazy_zeros

    def scarce(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        if shape[2] == CONTEXT:
            raise UserError("too little")
        return zeros(shape, dtype, device)

    monkeypatch.setattr(kv_cache, "lazy_zeros", scarce)
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=3), thread=thread)
    request = Request([1], 8, GREEDY, ignore_end=True)
    assert [token.id for chunk in engine.stream(request) for token in chunk.tokens] == plain(request)
    assert engine.kv_cache.capacity < CONTEXT
    engine.close()
