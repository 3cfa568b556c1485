"""A draft model: a smaller model of the same tokenizer that proposes tokens (Leviathan et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf

from gptsmith.generate.engine import Engine
from gptsmith.generate.kv_memory import cache_dtype
from gptsmith.generate.request import OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import bytes_per_token

GREEDY = SamplingSettings(temperature=0)


def draft_kv_cache_bytes(num_bytes: int, model: GPT, draft: GPT) -> int:
    """The part of the memory for KV caches that a draft model needs to keep the same tokens as its model."""
    own, drafts = (bytes_per_token(each.config, cache_dtype(each)) for each in (model, draft))
    return num_bytes * drafts // (own + drafts)


class DraftModel:
    """Proposes the most probable tokens, by an engine of its own."""

    def __init__(
        self,
        model: GPT,
        *,
        max_num_seqs: int = EngineSettings().speculative_max_batch_size,
        kv_cache_bytes: int | None = None,
    ) -> None:
        settings = EngineSettings(
            max_num_seqs=max_num_seqs,
            num_speculative_tokens=0,
            max_prefill_slowdown=inf,
            kv_cache_bytes=kv_cache_bytes,
        )
        self.engine = Engine(model, settings=settings)

    def propose(self, texts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
        """The most probable tokens after each text; fewer if the draft model's own context is full."""
        found: list[list[int]] = [[] for _ in texts]

        def collect(ids: list[int], chunk: OutputChunk) -> None:
            ids += [token.id for token in chunk.tokens]

        for ids, limit, proposed in zip(texts, limits, found, strict=True):
            room = min(limit, self.engine.context_length - len(ids))
            if room > 0:
                self.engine.submit(Request(list(ids), room, GREEDY), partial(collect, proposed))
        while self.engine.has_work:
            self.engine.step()
        return found
