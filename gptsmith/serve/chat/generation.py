"""The walk of a prompt: a checked request becomes requests of the engine, and what they give becomes the answer.

Completions, chat completions and responses differ in what a `GenerationJob` of theirs says; the walk is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, TypeVar

from starlette.responses import Response

from gptsmith.generate.request import OutputChunk, Request
from gptsmith.serve.chat.schemas.common import GenerationFields
from gptsmith.serve.chat.streaming import SequenceGroup, SequenceOutput
from gptsmith.serve.errors import ApiError, api_error
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.log import log_failure
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.server_sent_events import PING, EventStream, event
from gptsmith.serve.state import State
from gptsmith.text.tokenizer import TooManyTokensError

MANY_LOGPROBS = 2000
"""A part of an answer with more is written on another thread: it takes long."""

T = TypeVar("T")


class ChunkEvents(ABC):
    """The server-sent events of one answer, made from the chunks of its sequences.

    Attributes:
        ping: sent in silence, so that nothing on the way closes the connection.
    """

    ping: ClassVar[bytes] = PING
    media_type: ClassVar[str] = "text/event-stream"

    def opening(self) -> Iterator[bytes]:
        """The events before the first chunk."""
        yield from ()

    @abstractmethod
    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        """The events of a chunk of the sequence of that number."""

    @abstractmethod
    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        """The events after the last chunk."""

    def failure(self, error: ApiError, usage: dict[str, Any]) -> bytes:
        """The event that ends a stream that failed."""
        return event(error.body())


class GenerationJob(ABC):
    """A request for text whose fields have been checked.

    Attributes:
        num_sequences: how many sequences are generated for it.
        sequences_per_prompt: how many of them each prompt has.
        group: its sequences, once there are places for them.
    """

    prompt_field: ClassVar[str]
    """The field that holds the prompt, for errors."""
    format_field: ClassVar[str] = "response_format"
    """The field that holds the form of the text, for errors."""
    num_sequences: int
    sequences_per_prompt: int
    group: SequenceGroup

    def __init__(self, body: GenerationFields, served: ServedModel) -> None:
        self.fields, self.served = body, served

    @abstractmethod
    def requests(self) -> list[Request]:
        """One request of the engine for each sequence. It tokenizes the prompts, so that it may take long.

        Raises:
            ApiError: a prompt cannot be read.
        """

    @abstractmethod
    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        """The whole answer."""

    @abstractmethod
    def chunk_events(self) -> ChunkEvents:
        """The answer as a stream."""


async def generate_response(state: State, job: GenerationJob, log_fields: dict[str, Any]) -> Response:
    """The answer to a request, whole or as a stream.

    Raises:
        ApiError: it cannot be given.
    """
    with ExitStack() as stack:
        group = SequenceGroup(job.served, state.metrics, log_fields, job.sequences_per_prompt)
        stack.callback(group.close)
        group.reserve(job.num_sequences)
        job.group = group
        try:
            with job.served.engine.kv_memory.explained():
                requests = await state.models.workers.run_on_reader(job.requests)
        except TooManyTokensError as error:
            raise api_error(error, job.prompt_field) from None
        await group.submit(state.models, requests, job.prompt_field, job.format_field)
        if job.fields.stream:
            written = job.chunk_events()
            return EventStream(_events(state, written, group), stack.pop_all().close, written.media_type)
        outputs = await group.collect()
        num_logprobs = sum(map(_num_logprobs, outputs))
        data = await _written(state, num_logprobs, lambda: json_bytes(job.response(outputs, group.usage())))
        return Response(data, media_type="application/json")


def _num_logprobs(output: SequenceOutput | OutputChunk) -> int:
    return sum(1 + len(token.top_logprobs) for tokens in (output.prompt, output.tokens) for token in tokens)


async def _written(state: State, num_logprobs: int, write: Callable[[], T]) -> T:
    """A part of an answer: at once, or if it has many log-probabilities, by another thread."""
    return write() if num_logprobs <= MANY_LOGPROBS else await state.models.workers.run_on_reader(write)


async def _events(state: State, events: ChunkEvents, group: SequenceGroup) -> AsyncIterator[bytes]:
    num_logprobs = 0
    try:
        for data in events.opening():
            yield data
        async for item in group.chunks(state.settings.ping_s):
            if item is None:
                yield events.ping
                continue
            number, chunk = item
            here = _num_logprobs(chunk)
            num_logprobs += here
            # The last event of some forms has all tokens again.
            at_once = here if chunk.finish_reason is None else num_logprobs
            for data in await _written(state, at_once, lambda: list(events.chunk(number, chunk))):  # noqa: B023
                yield data
        for data in await _written(state, num_logprobs, lambda: list(events.closing(group.usage()))):
            yield data
    except Exception as error:
        if not isinstance(error, ApiError):
            log_failure(error)
        yield events.failure(api_error(error), group.usage())
