"""The walk of a prompt: a checked request becomes requests of the engine, and what they give becomes the answer.

Completions, chat completions and responses differ in what a `GenerationJob` of theirs says; the walk is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import OutputChunk, Request
from gptsmith.serve.errors import ApiError, api_error
from gptsmith.serve.log import log_failure
from gptsmith.serve.openai.schemas.common import GenerationFields
from gptsmith.serve.openai.streaming import SequenceGroup, SequenceOutput
from gptsmith.serve.served_models import ServedModel
from gptsmith.serve.server_sent_events import PING, EventStream, event
from gptsmith.serve.state import State
from gptsmith.text.tokenizer import TooManyTokensError

MANY_LOGPROBS = 2000
"""An answer with more is written on another thread: it takes long."""


class ChunkEvents(ABC):
    """The server-sent events of one answer, made from the chunks of its sequences."""

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
    """

    prompt_field: ClassVar[str]
    """The field that holds the prompt, for errors."""
    format_field: ClassVar[str] = "response_format"
    """The field that holds the form of the text, for errors."""
    num_sequences: int
    sequences_per_prompt: int

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
        try:
            requests = await state.models.run_on_reader(job.requests)
        except TooManyTokensError as error:
            raise api_error(error, job.prompt_field) from None
        await group.submit(state.models, requests, job.prompt_field, job.format_field)
        if job.fields.stream:
            events = _events(job.chunk_events(), group, state.settings.ping_s)
            return EventStream(events, stack.pop_all().close)
        outputs = await group.collect()
        if _num_logprobs(outputs) <= MANY_LOGPROBS:
            return JSONResponse(job.response(outputs, group.usage()))
        data = await state.models.run_on_reader(lambda: to_json(job.response(outputs, group.usage())))
        return Response(data, media_type="application/json")


def _num_logprobs(outputs: Sequence[SequenceOutput]) -> int:
    return sum(1 + len(token.top_logprobs) for output in outputs for token in (*output.prompt, *output.tokens))


async def _events(events: ChunkEvents, group: SequenceGroup, ping_s: float) -> AsyncIterator[bytes]:
    try:
        for data in events.opening():
            yield data
        async for item in group.chunks(ping_s):
            if item is None:
                yield PING
                continue
            for data in events.chunk(*item):
                yield data
        for data in events.closing(group.usage()):
            yield data
    except Exception as error:
        if not isinstance(error, ApiError):
            log_failure(error)
        yield events.failure(api_error(error), group.usage())
