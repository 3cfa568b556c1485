"""Generation: a prompt in, pieces of text out, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from gptsmith.base.errors import UserError
from gptsmith.generate.detokenizer import Detokenizer
from gptsmith.generate.sampling import SamplingSettings, apply_penalties, sample
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.text.tokenizer import Tokenizer


@dataclass
class Generation:
    """One text as it grows. Iterate over it for its pieces; its figures are right once that has ended.

    Attributes:
        text: the pieces so far, together.
        num_prompt_tokens: tokens read before the first was written.
        num_tokens: tokens written.
        seconds: time since the first piece was asked for.
        finish_reason: `stop` (a stop string, the end of the document or turn), `length` (all that was asked for),
            `context` (the model's context is full).
    """

    model: GPT
    tokenizer: Tokenizer
    prompt_ids: list[int]
    max_tokens: int
    sampling: SamplingSettings
    seed: int
    stop: Sequence[str]
    slide: bool
    text: str = ""
    num_tokens: int = 0
    seconds: float = 0.0
    finish_reason: str = ""

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_ids)

    def __iter__(self) -> Iterator[str]:
        started = time.perf_counter()
        for piece in self._pieces():
            self.text += piece
            self.seconds = time.perf_counter() - started
            yield piece
        self.seconds = time.perf_counter() - started

    def _pieces(self) -> Iterator[str]:
        stream = Detokenizer(self.stop)
        for token in self._tokens():
            if piece := stream.feed(self.tokenizer.decode_bytes([token])):
                yield piece
            if stream.has_stopped:
                self.finish_reason = "stop"
                return
        if piece := stream.feed(b"", final=True):
            yield piece
        if stream.has_stopped:
            self.finish_reason = "stop"

    @torch.inference_mode()
    def _next_logits(self, ids: list[int], cache: Cache) -> torch.Tensor:
        return self.model.head(self.model.hidden(torch.tensor([ids], device=self.model.device), cache=cache)[:, -1])

    def _tokens(self) -> Iterator[int]:
        model, context = self.model, self.model.config.context_length
        generator = torch.Generator(device=model.device).manual_seed(self.seed)
        ids = self.prompt_ids[-context:]
        dtype = model.compute_dtype or model.embedding.weight.dtype

        def new_cache() -> Cache:
            return Cache(model.config, 1, context, dtype=dtype, device=model.device)

        cache, unread = new_cache(), ids
        written: list[int] = []
        while self.num_tokens < self.max_tokens:
            if cache.length + len(unread) > context:
                if not self.slide:
                    self.finish_reason = "context"
                    return
                # Positions may be absolute, so the kept half is read anew from position 0.
                ids = ids[-max(1, context // 2) :]
                cache, unread = new_cache(), ids
            logits = self._next_logits(unread, cache)
            if self.sampling.has_penalties:
                logits = apply_penalties(logits[0], self.sampling, self.prompt_ids, written)[None]
            token = int(sample(logits, self.sampling, generator))
            if token in self.tokenizer.end_ids:
                self.finish_reason = "stop"
                return
            self.num_tokens += 1
            written.append(token)
            ids, unread = [*ids, token], [token]
            yield token
        self.finish_reason = "length"


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | list[int] = "",
    *,
    max_tokens: int = 200,
    sampling: SamplingSettings | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
    slide: bool = False,
) -> Generation:
    """A text that goes on from `prompt`, written as it is iterated over. An empty prompt starts a new document.

    Args:
        prompt: a text, or the ids of one.
        max_tokens: the most tokens to write.
        sampling: how tokens are drawn.
        seed: the same seed and prompt give the same text.
        stop: strings that end the text; they are not part of it.
        slide: forget the oldest half whenever the context is full, instead of ending there.

    Raises:
        UserError: the prompt is longer than the context, and `slide` is not set.
    """
    prompt_ids = tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else prompt or [tokenizer.eos_token_id]
    context = model.config.context_length
    if len(prompt_ids) > context and not slide:
        raise UserError(
            f"the prompt has {len(prompt_ids)} tokens and the model's context holds {context}: "
            "shorten it, or go on with its end by --slide"
        )
    if any(not text for text in stop):
        raise UserError("a stop string is empty: give at least one character")
    return Generation(model, tokenizer, prompt_ids, max_tokens, sampling or SamplingSettings(), seed, stop, slide)
