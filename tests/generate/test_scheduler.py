"""Scheduling, prefix caching and memory: what a pass reads is as little as it can be, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.machine import memory_bytes
from gptsmith.generate import block_pool
from gptsmith.generate.block_pool import BlockPool
from gptsmith.generate.engine import Engine
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.prefill_budget import PrefillBudget
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
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[Segment]]:
    """What passes read."""
    seen: list[list[Segment]] = []
    plan = PagedKVCache.plan

    def spy(cache: PagedKVCache, segments: list[Segment]) -> None:
        seen.append(list(segments))
        plan(cache, segments)

    monkeypatch.setattr(PagedKVCache, "plan", spy)
    return seen


def generated(engine: Engine, requests: list[Request]) -> list[list[int]]:
    chunks: list[list[OutputChunk]] = [[] for _ in requests]
    for request, own in zip(requests, chunks, strict=True):
        engine.submit(request, own.append)
    run(engine)
    return [tokens_of(own) for own in chunks]


def test_a_prefix_is_read_once_for_sequences_that_come_together(passes: list[list[Segment]]) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=8, max_prefill_slowdown=inf))
    requests = [Request(PROMPT, 12, seed=seed, ignore_end=True) for seed in range(6)]
    assert generated(engine, requests) == [plain(request) for request in requests]
    assert [(s.start, s.count) for s in passes[0]] == [(0, len(PROMPT))]
    assert sorted(s.count for s in passes[1]) == [1] * 6
    assert engine.figures().num_cached_tokens == 5 * (len(PROMPT) - 1)


def test_a_beginning_is_shared_and_not_copied() -> None:
    """Sequences that begin alike share all blocks but the last ones, into which each writes."""
    settings = EngineSettings(max_num_seqs=8, max_prefill_slowdown=inf, kv_block_size=4)
    engine = Engine(MODEL, TOKENIZER, settings=settings)
    requests = [Request(PROMPT, 12, seed=seed, ignore_end=True) for seed in range(6)]
    for request in requests:
        engine.submit(request, lambda chunk: None)
    for _ in range(4):
        engine.step()
    figures = engine.figures()
    assert figures.num_shared_kv_blocks == len(PROMPT) // 4 - 1
    assert figures.num_kv_blocks == len(PROMPT) // 4 - 1 + 6 * 2
    run(engine)


@pytest.mark.parametrize("allowance", [0.5, 21.0])
def test_a_pass_beside_texts_has_whole_blocks_of_rows(
    passes: list[list[Segment]], monkeypatch: pytest.MonkeyPatch, allowance: float
) -> None:
    monkeypatch.setattr(PrefillBudget, "allowance", lambda self, num_decoding: allowance)
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=8))
    for seed in range(3):
        engine.submit(Request([200 + seed, 9], 30, seed=seed, ignore_end=True), lambda chunk: None)
    for _ in range(4):
        engine.step()
    passes.clear()
    engine.submit(Request(PROMPT, 1), lambda chunk: None)
    run(engine)
    num_rows = [sum(s.count for s in segments) for segments in passes if len(segments) == 4]
    whole = 8 if allowance < 8 else 20  # three texts, and 5 or 17 tokens of the prompt
    assert len(num_rows) == -(-len(PROMPT) // (whole - 3))
    assert num_rows[:-1] == [whole] * (len(num_rows) - 1)


def test_the_oldest_prefixes_make_room(passes: list[list[Segment]]) -> None:
    """Without a bound, sequences that run and those that have ended are no more than may run."""
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=2, kv_block_size=8))
    prompts = [[number] * 20 for number in (1, 2, 3)]
    for prompt in [*prompts, prompts[2], prompts[1], prompts[0]]:
        generated(engine, [Request(prompt, 2, GREEDY, ignore_end=True)])
    read = [segments[0].count for segments in passes if segments[0].count > 1]
    assert read == [20, 20, 20, 20]  # the first prompt is forgotten, the others need their last token alone


def test_one_text_needs_memory_for_itself_alone() -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(kv_block_size=4))
    generated(engine, [Request([1] * 5, 6, ignore_end=True)])
    assert engine.figures().num_kv_blocks == 3
    generated(engine, [Request([2], 5, ignore_end=True, slide=True)])
    assert engine.figures().num_kv_blocks == 3 + 2


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
    memory = replace(KVCacheMemory.of(MODEL.config, torch.float32, EngineSettings()), model_context_length=2**19)
    memory = replace(memory, groups=[replace(group, most_blocks=2**13) for group in memory.groups])
    before = memory_bytes()
    cache = PagedKVCache(MODEL.config, memory, device=torch.device("cpu"), max_num_seqs=16)
    table = cache.new_table()
    assert cache.extend(table, 0, 200)
    cache.plan([Segment(table, 0, 200)])
    ones = torch.ones(1, MODEL.config.num_kv_heads, 200, MODEL.config.resolved_head_dim)
    for layer in range(MODEL.config.num_layers):
        cache.update(layer, ones, ones)
    total = sum(tensor.nbytes for layer in (*cache.keys, *cache.values) for tensor in layer.tensors)
    after = memory_bytes()
    if before is not None and after is not None:
        assert after - before < 20_000_000 < 2_000_000_000 < total
    cache.release(table, clear=True)
    assert not any(layer.blocks[:4].any() for layer in (*cache.keys, *cache.values))


def test_one_text_that_finds_no_memory_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(kv_block_size=8))
    take = BlockPool.take

    def too_much(pool: BlockPool) -> int:
        if pool.num_used > 4:
            raise UserError("too little")
        return take(pool)

    monkeypatch.setattr(BlockPool, "take", too_much)
    small, large = Request([1], 8, GREEDY, ignore_end=True), Request([1], 60, GREEDY, ignore_end=True)
    chunks: list[OutputChunk] = []
    engine.submit(large, chunks.append)
    assert generated(engine, [small]) == [plain(small)]
    assert str(chunks[-1].failure) == "too little"


def test_too_little_memory_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match="too little memory: ") as caught:
        lazy_zeros((16, 2**20, 2**30, 64), torch.float32, "cpu")
    assert "\n" not in str(caught.value)


def test_where_not_all_can_be_had_at_once_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = block_pool.lazy_zeros

    def scarce(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        if shape[0] > 20:
            raise UserError("too little")
        return zeros(shape, dtype, device)

    monkeypatch.setattr(block_pool, "lazy_zeros", scarce)
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=3, kv_block_size=4))
    assert len(engine.kv_cache.keys[0].blocks) == 0
    requests = [Request([number], 20, GREEDY, ignore_end=True) for number in range(3)]
    assert generated(engine, requests) == [plain(request) for request in requests]
    assert len(engine.kv_cache.keys[0].blocks) == 16
    engine.close()
