"""POST /v1/completions: texts that go on from prompts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import TokenLogprob
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.openai.ids import new_id
from gptsmith.serve.openai.request_mapping import (
    LogprobBuffer,
    check_sampling_fields,
    engine_request,
    resolve_max_tokens,
    token_text,
)
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.openai.streaming import SequenceGroup, resolve_seed
from gptsmith.serve.served_models import ServedModel
from gptsmith.serve.server_sent_events import DONE, PING, EventStream, event
from gptsmith.serve.state import State

DEFAULT_TOKENS = 16
"""OpenAI's, which its clients count on."""


async def completions(state: State, body: CompletionRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a request for completions.

    Raises:
        ApiError: it cannot be given.
    """
    served = state.models.get(body.model)
    asked = TextCompletion(body, served)
    with ExitStack() as stack:
        writing = SequenceGroup(served, state.metrics, log_fields)
        stack.callback(writing.close)
        writing.reserve(asked.num_sequences)
        writing.sequences_per_prompt = asked.num_sampled
        await state.models.read(asked.read_prompts)
        await writing.begin(state.models, asked.requests(), "prompt")
        if body.stream:
            return EventStream(asked.events(writing, state.settings.ping_s), stack.pop_all().close)
        return JSONResponse(await asked.whole(writing))


class TextCompletion:
    """A request for completions, and its answer."""

    def __init__(self, body: CompletionRequest, served: ServedModel) -> None:
        self.body, self.served = body, served
        self.num_returned = body.n or 1
        self.num_sampled = body.best_of or self.num_returned
        if body.suffix:
            raise unsupported("suffix", "models here only write what comes after a text")
        if self.num_sampled < self.num_returned:
            raise refused("best_of", f"it is {body.best_of}, and n is {self.num_returned}: it cannot be smaller")
        self.is_chosen = self.num_sampled > self.num_returned
        if self.is_chosen and body.stream:
            raise refused("best_of", "the best can only be chosen at the end: leave stream out, or make it equal to n")
        self.prompts = _prompts(body.prompt)
        self.num_sequences = len(self.prompts) * self.num_sampled
        check_sampling_fields(body, served, self.num_sequences)
        self.max_tokens = resolve_max_tokens(body.max_tokens, DEFAULT_TOKENS, served, "max_tokens")
        self.seed = resolve_seed(body.seed)
        self.prompt_ids: list[list[int]] = []
        self.head = {"id": new_id("cmpl"), "object": "text_completion", "created": int(time.time())}
        self.head |= {"model": served.name, "system_fingerprint": None}

    def read_prompts(self) -> None:
        """Prompts to ids."""
        tokenizer = self.served.tokenizer
        self.prompt_ids = [tokenizer.prompt_ids(text) if isinstance(text, str) else text for text in self.prompts]

    def requests(self) -> list[Any]:
        """For the engine: the texts of the first prompt, then those of the second."""
        top_logprobs = self.body.logprobs
        if top_logprobs is None and self.is_chosen:
            top_logprobs = 0
        return [
            engine_request(
                self.body, self.served, ids,
                max_tokens=self.max_tokens, seed=self.seed, choice=choice, top_logprobs=top_logprobs,
                prompt_logprobs=bool(self.body.echo) and self.body.logprobs is not None,
            )
            for ids in self.prompt_ids
            for choice in range(self.num_sampled)
        ]  # fmt: skip

    def echo(self, number: int) -> str:
        """What stands before a text: its prompt, where that is asked for."""
        if not self.body.echo:
            return ""
        prompt = self.prompts[number // self.num_sampled]
        return prompt if isinstance(prompt, str) else self.served.tokenizer.decode(prompt)

    async def whole(self, writing: SequenceGroup) -> dict[str, Any]:
        """The answer at once."""
        texts = await writing.whole()
        choices: list[dict[str, Any]] = []
        for start in range(0, len(texts), self.num_sampled):
            numbers = range(start, start + self.num_sampled)
            if self.is_chosen:
                numbers = sorted(numbers, key=lambda number: -texts[number].mean_logprob)[: self.num_returned]  # type: ignore[assignment]
            for number in numbers:
                text = texts[number]
                told, _ = self.logprobs([*text.prompt, *text.tokens], 0)
                choice = {"index": len(choices), "text": self.echo(number) + text.text, "logprobs": told}
                choices.append({**choice, "finish_reason": text.finish_reason})
        return {**self.head, "choices": choices, "usage": writing.usage()}

    async def events(self, writing: SequenceGroup, ping_s: float) -> AsyncIterator[bytes]:
        """The answer as it comes."""
        held, begun, offsets = LogprobBuffer(), set(), [0] * self.num_sequences
        wants_usage = bool(self.body.stream_options and self.body.stream_options.include_usage)
        more = {"usage": None} if wants_usage else {}
        async for item in writing.pieces(ping_s):
            if item is None:
                yield PING
                continue
            number, piece = item
            text = piece.text
            if number not in begun:
                begun.add(number)
                text = self.echo(number) + text
            tokens = held.with_text(number, [*piece.prompt, *piece.tokens], bool(text or piece.finish_reason))
            if not (text or tokens or piece.finish_reason):
                continue
            told, offsets[number] = self.logprobs(tokens, offsets[number])
            choice = {"index": number, "text": text, "logprobs": told, "finish_reason": piece.finish_reason}
            yield event({**self.head, "choices": [choice], **more})
        if wants_usage:
            yield event({**self.head, "choices": [], "usage": writing.usage()})
        yield DONE

    def logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> tuple[dict[str, Any] | None, int]:
        """Tokens as OpenAI's completions tell them, and the place in the text after them."""
        if self.body.logprobs is None:
            return None, offset
        tokenizer = self.served.tokenizer
        spelled, values, tops, offsets = [], [], [], []
        for told in tokens:
            word = token_text(tokenizer, told.id)
            spelled.append(word)
            values.append(told.logprob)
            offsets.append(offset)
            top = {token_text(tokenizer, one.id): one.logprob for one in told.top_logprobs}
            tops.append(None if told.logprob is None else {**top, word: told.logprob})
            offset += len(tokenizer.decode([told.id]))
        return {"tokens": spelled, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}, offset


def _prompts(given: Any) -> list[str | list[int]]:
    """Each prompt: a text, or ids."""
    if given is None:
        return [""]
    if isinstance(given, str):
        return [given]
    return [given] if isinstance(given[0], int) else list(given)
