"""The sequences of one request, as asyncio sees them while the engine's thread generates them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.generate.request import InvalidConstraintError, OutputChunk, Request, RequestHandle, TokenLogprob
from gptsmith.serve.chat.tools import FORMAT_PART
from gptsmith.serve.errors import ApiError, api_error, draining, overloaded, refused
from gptsmith.serve.log import log_failure
from gptsmith.serve.metrics import Metrics
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.served_models import ServedModels

NOT_ENFORCED = ("Unimplemented keys", "Unknown format", "look-around")
NOT_STRICT = ": leave out strict, and this part of the schema is not enforced"


@dataclass
class SequenceOutput:
    """A sequence that has ended, by the stop string if there is one."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    prompt: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str = ""
    stop_string: str | None = None

    @property
    def mean_logprob(self) -> float:
        """The mean log-probability of its tokens; 0 if it has none."""
        known = [token.logprob for token in self.tokens if token.logprob is not None]
        return sum(known) / len(known) if known else 0.0


class SequenceGroup:
    """The sequences of one request. `reserve` keeps places for them, `submit` begins them, `close` ends those that have
    not ended.

    Attributes:
        sequences_per_prompt: how many sequences each prompt has; they follow each other among the requests.
        handles: one for each sequence that was begun.
        num_tokens: tokens generated, of all sequences.
    """

    def __init__(
        self, served: ServedModel, metrics: Metrics, log_fields: dict[str, Any], sequences_per_prompt: int = 1
    ) -> None:
        """`log_fields` gets the counts for the line of the log."""
        self.served, self.metrics, self.log_fields = served, metrics, log_fields
        self.sequences_per_prompt = sequences_per_prompt
        self.handles: list[RequestHandle] = []
        self.num_tokens = 0
        self._queue: asyncio.Queue[tuple[int, OutputChunk]] = asyncio.Queue()
        self._reservation = ExitStack()
        self._started = time.monotonic()
        self._first: float | None = None
        self._latest: dict[int, float] = {}
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    def reserve(self, count: int) -> None:
        """Keeps places for so many sequences until `close`.

        Raises:
            ApiError: there are not so many.
        """
        self._reservation.enter_context(self.served.reserved(count))

    async def submit(self, models: ServedModels, requests: Sequence[Request], param: str, format_param: str) -> None:
        """Begins all sequences, or none of them.

        Raises:
            ApiError: the engine refuses one; `param` names the field with the prompt, `format_param` that with the
                form of the text.
        """

        def submit_all() -> None:
            # Here and not on the loop's thread: a large schema takes long to read.
            for number, request in enumerate(requests):
                handle = self.served.engine.submit(request, partial(self.deliver, number))
                self.handles.append(handle)
                if self._is_closed:  # the client has left while its prompt was read
                    handle.cancel()

        try:
            await models.workers.run_on_reader(submit_all)
        except InvalidConstraintError as error:
            place = format_param if error.part in ("", FORMAT_PART) else "tools"
            hint = NOT_STRICT if any(sign in str(error) for sign in NOT_ENFORCED) else ""
            raise refused(place, f"{error}{hint}") from error
        except UserError as error:
            raise api_error(error, param) from error

    def deliver(self, number: int, chunk: OutputChunk) -> None:
        """Hands over a chunk of a sequence, from any thread. It is dropped if the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._receive, number, chunk)

    def _receive(self, number: int, chunk: OutputChunk) -> None:
        self._queue.put_nowait((number, chunk))
        self.num_tokens += len(chunk.tokens)
        now = time.monotonic()
        if chunk.tokens:
            self._first = now if self._first is None else self._first
            if number in self._latest:
                self.metrics.inter_token_latency(self.served.name, (now - self._latest[number]) / len(chunk.tokens))
            else:
                self.metrics.time_to_first_token(self.served.name, now - self._started)
            self._latest[number] = now

    async def chunks(self, ping_s: float | None = None) -> AsyncIterator[tuple[int, OutputChunk] | None]:
        """Chunks with the number of their sequence, until all have ended; with `ping_s`, None after each such silence.

        A sequence that takes too long ends with the reason `length`.

        Raises:
            ApiError: the engine failed, or generated nothing in all the time that there is.
        """
        deadline = self._started + self.served.settings.timeout_s
        num_ended = 0
        is_late = False
        while num_ended < len(self.handles):
            left_s = deadline - time.monotonic()
            if left_s <= 0 and not is_late:
                is_late = True
                for handle in self.handles:
                    handle.cancel()
                if not self._latest:
                    raise overloaded(
                        "the request timed out before its first token: try again when the server is less busy"
                    )
            limits = [limit for limit in (None if is_late else left_s, ping_s) if limit is not None]
            try:
                async with asyncio.timeout(min(limits, default=None)):
                    number, chunk = await self._queue.get()
            except TimeoutError:
                if ping_s is not None:
                    yield None
                continue
            if chunk.failure is not None:
                log_failure(chunk.failure)
                raise ApiError(500, "generation failed", code="engine_error")
            if chunk.finish_reason is not None:
                num_ended += 1
            if chunk.finish_reason == "cancelled":
                if not is_late:
                    raise draining()
                chunk = replace(chunk, finish_reason="length")
            if chunk.finish_reason == "context":  # OpenAI's API has no word of its own for it
                chunk = replace(chunk, finish_reason="length")
            yield number, chunk

    async def collect(self) -> list[SequenceOutput]:
        """All sequences, once they have ended."""
        outputs = [SequenceOutput() for _ in self.handles]
        async for item in self.chunks():
            if item is None:
                continue
            number, chunk = item
            outputs[number].text += chunk.text
            outputs[number].tokens += chunk.tokens
            outputs[number].prompt += chunk.prompt
            outputs[number].finish_reason, outputs[number].stop_string = chunk.finish_reason or "", chunk.stop_string
        return outputs

    def durations_s(self) -> tuple[float, float]:
        """The time to the first token, the wait for a place included, and the time from there until now."""
        now = time.monotonic()
        first = now if self._first is None else self._first
        return first - self._started, now - first

    def usage(self) -> dict[str, Any]:
        """Tokens as OpenAI counts them: a prompt once, however many sequences it has."""
        firsts = self.handles[:: self.sequences_per_prompt]
        num_prompt_tokens = sum(handle.num_prompt_tokens for handle in firsts)
        return {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": self.num_tokens,
            "total_tokens": num_prompt_tokens + self.num_tokens,
            "prompt_tokens_details": {
                "cached_tokens": sum(handle.num_cached_tokens for handle in firsts),
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
        for handle in list(self.handles):
            handle.cancel()
        self._reservation.close()
        self.log_fields |= {
            "model": self.served.name,
            "prompt_tokens": sum(handle.num_prompt_tokens for handle in self.handles[:: self.sequences_per_prompt]),
            "tokens": self.num_tokens,
        }
