"""Texts of an engine as asyncio sees them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.generate.request import InvalidConstraintError, OutputChunk, Request, RequestHandle, TokenLogprob
from gptsmith.serve.errors import ApiError, api_error, draining, overloaded
from gptsmith.serve.metrics import Metrics
from gptsmith.serve.openai.tools import FORMAT_PART
from gptsmith.serve.served_models import ServedModel, ServedModels

LARGEST_SEED = 2**63


def resolve_seed(given: int | None) -> int:
    """The seed that was given, or a new one."""
    return secrets.randbelow(LARGEST_SEED) if given is None else given % LARGEST_SEED


@dataclass
class SequenceOutput:
    """A text that has ended."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    prompt: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str = ""

    @property
    def mean_logprob(self) -> float:
        """How likely its tokens were on average; of no tokens, certain."""
        known = [told.logprob for told in self.tokens if told.logprob is not None]
        return sum(known) / len(known) if known else 0.0


class SequenceGroup:
    """Several texts that one request asked for, as they grow. Made by `begin`; `close` ends what has not ended.

    Attributes:
        num_tokens: tokens written, of all texts.
        sequences_per_prompt: how many texts go on from each prompt, one after the other in what is asked for.
    """

    def __init__(self, served: ServedModel, metrics: Metrics, log_fields: dict[str, Any]) -> None:
        """`log_fields` gets the counts for the log."""
        self.served, self.metrics, self.log_fields = served, metrics, log_fields
        self.sequences_per_prompt = 1
        self.tickets: list[RequestHandle] = []
        self.num_tokens = 0
        self._pieces: asyncio.Queue[tuple[int, OutputChunk]] = asyncio.Queue()
        self._places = ExitStack()
        self._started = time.monotonic()
        self._latest: dict[int, float] = {}
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    def reserve(self, count: int) -> None:
        """Keeps places for so many texts until `close`.

        Raises:
            ApiError: there are not so many.
        """
        self._places.enter_context(self.served.reserved(count))

    async def begin(self, models: ServedModels, requests: Sequence[Request], param: str) -> None:
        """Asks for the texts: for all, or for none of them.

        Raises:
            ApiError: the engine refuses one; `param` names the field with the prompt.
        """

        def submit() -> None:
            # Here and not on the loop's thread: a large schema takes long to read.
            for number, request in enumerate(requests):
                ticket = self.served.engine.submit(request, partial(self._deliver, number))
                self.tickets.append(ticket)
                if self._is_closed:  # whoever asked has left while their prompt was read
                    ticket.cancel()

        try:
            await models.read(submit)
        except InvalidConstraintError as error:
            raise api_error(error, "response_format" if error.part in ("", FORMAT_PART) else "tools") from error
        except UserError as error:
            raise api_error(error, param) from error

    def _deliver(self, number: int, piece: OutputChunk) -> None:
        """Hands a piece over, from the engine's thread."""
        # The loop may have ended before the engine.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, number, piece)

    def _take(self, number: int, piece: OutputChunk) -> None:
        self._pieces.put_nowait((number, piece))
        self.num_tokens += len(piece.tokens)
        now = time.monotonic()
        if piece.tokens:
            if number in self._latest:
                self.metrics.between_tokens(self.served.name, (now - self._latest[number]) / len(piece.tokens))
            else:
                self.metrics.first_token(self.served.name, now - self._started)
            self._latest[number] = now

    async def pieces(self, ping_s: float | None = None) -> AsyncIterator[tuple[int, OutputChunk] | None]:
        """Pieces with the number of their text, until all have ended; with `ping_s`, None after each such silence.

        A text that takes too long ends as one that has all its tokens does.

        Raises:
            ApiError: the engine failed, or nothing was written in all the time that there is.
        """
        deadline = self._started + self.served.settings.timeout_s
        ended = 0
        is_late = False
        while ended < len(self.tickets):
            left_s = deadline - time.monotonic()
            if left_s <= 0 and not is_late:
                is_late = True
                for ticket in self.tickets:
                    ticket.cancel()
                if not self._latest:
                    raise overloaded("nothing could be written in time: try again when fewer people ask")
            limits = [limit for limit in (None if is_late else left_s, ping_s) if limit is not None]
            try:
                async with asyncio.timeout(min(limits, default=None)):
                    number, piece = await self._pieces.get()
            except TimeoutError:
                if ping_s is not None:
                    yield None
                continue
            if piece.finish_reason == "error":
                raise ApiError(500, "the model failed while it wrote", code="engine_error")
            if piece.finish_reason is not None:
                ended += 1
            if piece.finish_reason == "cancelled":
                if not is_late:
                    raise draining()
                piece = replace(piece, finish_reason="length")
            if piece.finish_reason == "context":  # OpenAI's API has no word of its own for it
                piece = replace(piece, finish_reason="length")
            yield number, piece

    async def whole(self) -> list[SequenceOutput]:
        """All texts, once they have ended."""
        texts = [SequenceOutput() for _ in self.tickets]
        async for item in self.pieces():
            if item is None:
                continue
            number, piece = item
            texts[number].text += piece.text
            texts[number].tokens += piece.tokens
            texts[number].prompt += piece.prompt
            texts[number].finish_reason = piece.finish_reason or ""
        return texts

    def usage(self) -> dict[str, Any]:
        """Tokens as OpenAI counts them: a prompt once, however many texts go on from it."""
        firsts = self.tickets[:: self.sequences_per_prompt]
        num_prompt = sum(ticket.num_prompt_tokens for ticket in firsts)
        return {
            "prompt_tokens": num_prompt,
            "completion_tokens": self.num_tokens,
            "total_tokens": num_prompt + self.num_tokens,
            "prompt_tokens_details": {
                "cached_tokens": sum(ticket.num_cached_tokens for ticket in firsts),
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def close(self) -> None:
        """Ends what has not ended, and gives the places back. May be called again."""
        self._is_closed = True
        for ticket in list(self.tickets):
            ticket.cancel()
        self._places.close()
        self.log_fields |= {
            "model": self.served.name,
            "prompt_tokens": sum(ticket.num_prompt_tokens for ticket in self.tickets[:: self.sequences_per_prompt]),
            "tokens": self.num_tokens,
        }
