"""POST /v1/completions: texts that go on from prompts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import TokenLogprob
from gptsmith.serve.asking import Held, budget, check_shared, request_for, token_text
from gptsmith.serve.bodies import CompletionBody
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.ids import new_id
from gptsmith.serve.models import ServedModel
from gptsmith.serve.stream import DONE, PING, EventStream, event
from gptsmith.serve.writing import Writing, seed_of

if TYPE_CHECKING:
    from gptsmith.serve.app import Server

DEFAULT_TOKENS = 16
"""OpenAI's, which its clients count on."""


async def completions(server: Server, body: CompletionBody, figures: dict[str, Any]) -> Response:
    """The answer to a request for completions.

    Raises:
        ApiError: it cannot be given.
    """
    served = server.models.get(body.model)
    asked = _Asked(body, served)
    with ExitStack() as stack:
        writing = Writing(served, server.metrics, figures)
        stack.callback(writing.close)
        writing.reserve(asked.num_texts)
        writing.texts_per_prompt = asked.num_drawn
        await server.models.read(asked.read_prompts)
        await writing.begin(server.models, asked.requests(), "prompt")
        if body.stream:
            return EventStream(asked.events(writing, server.settings.ping_s), stack.pop_all().close)
        return JSONResponse(await asked.whole(writing))


class _Asked:
    """A request for completions, and its answer."""

    def __init__(self, body: CompletionBody, served: ServedModel) -> None:
        self.body, self.served = body, served
        self.num_wanted = body.n or 1
        self.num_drawn = body.best_of or self.num_wanted
        if body.suffix:
            raise unsupported("suffix", "models here only write what comes after a text")
        if self.num_drawn < self.num_wanted:
            raise refused("best_of", f"it is {body.best_of}, and n is {self.num_wanted}: it cannot be smaller")
        self.is_chosen = self.num_drawn > self.num_wanted
        if self.is_chosen and body.stream:
            raise refused("best_of", "the best can only be chosen at the end: leave stream out, or make it equal to n")
        self.prompts = _prompts(body.prompt)
        self.num_texts = len(self.prompts) * self.num_drawn
        check_shared(body, served, self.num_texts)
        self.max_tokens = budget(body.max_tokens, DEFAULT_TOKENS, served, "max_tokens")
        self.seed = seed_of(body.seed)
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
            request_for(
                self.body, self.served, ids,
                max_tokens=self.max_tokens, seed=self.seed, choice=choice, top_logprobs=top_logprobs,
                prompt_logprobs=bool(self.body.echo) and self.body.logprobs is not None,
            )
            for ids in self.prompt_ids
            for choice in range(self.num_drawn)
        ]  # fmt: skip

    def echo(self, number: int) -> str:
        """What stands before a text: its prompt, where that is asked for."""
        if not self.body.echo:
            return ""
        prompt = self.prompts[number // self.num_drawn]
        return prompt if isinstance(prompt, str) else self.served.tokenizer.decode(prompt)

    async def whole(self, writing: Writing) -> dict[str, Any]:
        """The answer at once."""
        texts = await writing.whole()
        choices: list[dict[str, Any]] = []
        for start in range(0, len(texts), self.num_drawn):
            numbers = range(start, start + self.num_drawn)
            if self.is_chosen:
                numbers = sorted(numbers, key=lambda number: -texts[number].mean_logprob)[: self.num_wanted]  # type: ignore[assignment]
            for number in numbers:
                text = texts[number]
                told, _ = self.logprobs([*text.prompt, *text.tokens], 0)
                choice = {"index": len(choices), "text": self.echo(number) + text.text, "logprobs": told}
                choices.append({**choice, "finish_reason": text.finish_reason})
        return {**self.head, "choices": choices, "usage": writing.usage()}

    async def events(self, writing: Writing, ping_s: float) -> AsyncIterator[bytes]:
        """The answer as it comes."""
        held, begun, offsets = Held(), set(), [0] * self.num_texts
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
