"""The KV caches of all sequences together stay within their bound, and nobody's text changes for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.machine import memory_bytes
from gptsmith.generate.engine import Engine
from gptsmith.generate.kv_cache import PagedKVCache
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.request import ContextOverflowError, Request
from gptsmith.generate.sequence import SequenceState
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.kv_cache import bytes_per_token, discard, lazy_zeros

from .test_engine import CONTEXT, MODEL, TOKENIZER, plain, run, together, tokens_of

TOKEN_BYTES = bytes_per_token(MODEL.config, torch.float32)


def engine_of(num_tokens: int, **settings: int) -> Engine:
    """An engine whose cache holds so many tokens, in blocks of 8."""
    given = {"max_num_seqs": 6, "kv_block_size": 8, "kv_cache_bytes": num_tokens * TOKEN_BYTES, **settings}
    return Engine(MODEL, TOKENIZER, settings=EngineSettings(**given))


@pytest.fixture
def preempted(monkeypatch: pytest.MonkeyPatch) -> list[SequenceState]:
    """The sequences that had to wait again."""
    seen: list[SequenceState] = []
    preempt = SequenceState.preempt

    def spy(sequence: SequenceState) -> None:
        seen.append(sequence)
        preempt(sequence)

    monkeypatch.setattr(SequenceState, "preempt", spy)
    return seen


@pytest.fixture
def most_written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of the blocks that take up memory, after the plan of each pass."""
    seen: list[int] = []
    plan = PagedKVCache.plan

    def spy(cache: PagedKVCache, *given: Any) -> None:
        plan(cache, *given)
        seen.append(cache.block_size * sum(pool.num_touched for pool in cache.pools))

    monkeypatch.setattr(PagedKVCache, "plan", spy)
    return seen


def test_a_token_takes_what_it_takes() -> None:
    assert 2 * MODEL.config.num_layers * 2 * 32 * 4 == TOKEN_BYTES
    assert bytes_per_token(MODEL.config, torch.int8) == 2 * MODEL.config.num_layers * 2 * (32 + 4)
    for dtype in ("auto", "int8"):
        memory = KVCacheMemory.of(MODEL.config, torch.float32, EngineSettings(kv_block_size=8, kv_cache_dtype=dtype))
        cache = PagedKVCache(MODEL.config, memory, device=torch.device("cpu"), max_num_seqs=2)
        tensors = [tensor for layer in (*cache.keys, *cache.values) for tensor in layer.tensors]
        assert sum(tensor.nbytes for tensor in tensors) == memory.bytes_of(CONTEXT) * 2


@pytest.mark.parametrize("num_tokens", [CONTEXT, 300, 6 * CONTEXT])
def test_all_sequences_together_stay_within_the_bound(
    num_tokens: int, preempted: list[SequenceState], most_written: list[int]
) -> None:
    requests = [Request([number + 1] * (5 + 9 * number), 80, seed=number, ignore_end=True) for number in range(8)]
    requests += [Request([7] * 90, 3, seed=9, ignore_end=True), Request([3], 1, ignore_end=True)]
    engine = engine_of(num_tokens)
    assert [tokens_of(chunks) for chunks in together(engine, requests)] == [plain(request) for request in requests]
    assert max(most_written) <= num_tokens
    assert bool(preempted) == (num_tokens < 6 * CONTEXT)
    assert engine.figures().num_preemptions == len(preempted)
    assert engine.figures().num_prompt_tokens == sum(len(request.prompt_ids) for request in requests)


def test_without_a_bound_nobody_waits(preempted: list[SequenceState], most_written: list[int]) -> None:
    requests = [Request([number + 1], 80, ignore_end=True) for number in range(6)]
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=6))
    together(engine, requests)
    assert engine.kv_memory.num_bytes is None
    assert not preempted
    assert max(most_written) > 4 * 80


def test_prefixes_make_room_for_others(most_written: list[int]) -> None:
    engine = engine_of(CONTEXT + 60)
    for number in range(4):
        request = Request([number + 1] * 40, 50, seed=number, ignore_end=True)
        assert tokens_of(together(engine, [request])[0]) == plain(request)
    assert max(most_written) <= CONTEXT + 60


def test_a_preempted_text_has_its_log_probabilities_once(preempted: list[SequenceState]) -> None:
    requests = [
        Request([number + 1] * 20, 40, top_logprobs=2, prompt_logprobs=True, ignore_end=True) for number in range(3)
    ]
    found = together(engine_of(120, max_prefill_tokens=16), requests)
    alone = [together(Engine(MODEL, TOKENIZER), [request])[0] for request in requests]
    assert preempted
    for chunks, others in zip(found, alone, strict=True):
        for part in ("prompt", "tokens"):
            one, other = ([token.id for chunk in side for token in getattr(chunk, part)] for side in (chunks, others))
            assert one == other


def test_a_text_that_slides_is_the_same_when_it_must_wait(preempted: list[SequenceState]) -> None:
    requests = [Request([number + 1], 130, seed=number, slide=True, ignore_end=True) for number in range(3)]
    found = together(engine_of(150), requests)
    alone = [together(Engine(MODEL, TOKENIZER), [request])[0] for request in requests]
    assert preempted
    assert [*map(tokens_of, found)] == [*map(tokens_of, alone)]


def test_the_first_in_the_queue_is_not_overtaken() -> None:
    engine = engine_of(CONTEXT)
    order: list[int] = []
    requests = [Request([1], 80, ignore_end=True), Request([2] * 90, 5, ignore_end=True), Request([3], 20)]
    for number, request in enumerate(requests):
        engine.submit(request, lambda chunk, number=number: order.append(number) if chunk.finish_reason else None)
    run(engine)
    assert order == [0, 1, 2]


def test_a_bound_below_one_context_shortens_it() -> None:
    engine = engine_of(70)
    assert engine.context_length == 64
    (chunks,) = together(engine, [Request([1], 200, ignore_end=True)])
    assert (len(tokens_of(chunks)), chunks[-1].finish_reason) == (63, "context")
    with pytest.raises(ContextOverflowError) as caught:
        engine.submit(Request([1] * 80, 1), lambda _: None)
    assert str(caught.value) == (
        "the prompt has 80 tokens and the model's context holds 64: shorten it, or give the server a larger "
        "--kv-cache-memory: a context of 96 tokens takes 98.3 kB of KV cache, and 71.7 kB hold 64 tokens"
    )


def test_a_bound_that_holds_hardly_anything_is_refused() -> None:
    message = (
        "a KV cache of 5.12 kB holds no block of 8 tokens, which takes 8.19 kB: allow at least that, better 98.3 kB"
    )
    with pytest.raises(UserError, match=message):
        engine_of(5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise no more memory than there is")
def test_a_process_with_large_caches_can_be_forked() -> None:
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    caches = [lazy_zeros((1, 1, num_bytes // 256, 64), torch.float32, "cpu") for _ in range(3)]
    assert subprocess.run(["true"], preexec_fn=lambda: None).returncode == 0  # which makes it a fork
    assert len(caches) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back page by page on Linux alone")
def test_memory_is_given_back() -> None:
    values = lazy_zeros((1, 2, 64_000, 64), torch.float32, "cpu")
    before = memory_bytes() or 0
    values.fill_(1)
    full = memory_bytes() or 0
    discard(values[0, 1, 1:])
    half = memory_bytes() or 0
    assert full - before > 30e6
    assert full - half > 14e6
    assert not values[0, 1, 1:].any()
    assert values[0, 1, 0].all()
    assert values[0, 0].all()


@pytest.mark.parametrize("start", [0, 3, 1000])
@pytest.mark.parametrize("num_rows", [1, 7, 3000])
def test_zeros_are_written_wherever_pages_begin(start: int, num_rows: int) -> None:
    values = torch.ones(5000, 5, dtype=torch.float16)
    discard(values[start : start + num_rows])
    assert not values[start : start + num_rows].any()
    assert values[:start].all()
    assert values[start + num_rows :].all()
