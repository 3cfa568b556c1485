"""The stream of a response: typed events, numbered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Protocol

from gptsmith.generate.request import OutputChunk, TokenLogprob
from gptsmith.serve.chat.answer import AnswerParser, Part, Thoughts, Words
from gptsmith.serve.chat.generation import ChunkEvents
from gptsmith.serve.chat.logprobs import LogprobBuffer
from gptsmith.serve.chat.tools import ToolCall
from gptsmith.serve.errors import ApiError
from gptsmith.serve.server_sent_events import event


class ResponseParts(Protocol):
    """The parts of a response that its stream needs."""

    def parser(self) -> AnswerParser: ...
    def final_response(self, items: list[dict[str, Any]], reason: str, usage: dict[str, Any]) -> dict[str, Any]: ...
    def response_object(
        self, items: list[dict[str, Any]], reason: str | None, usage: dict[str, Any] | None
    ) -> dict[str, Any]: ...
    def item(self, part: Part, tokens: Sequence[TokenLogprob], status: str) -> dict[str, Any]: ...
    def logprobs(self, tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]: ...


class ResponseEvents(ChunkEvents):
    """The events of a response that is generated: of thoughts and of a message as they grow, of a call once it is
    complete."""

    def __init__(self, response: ResponseParts) -> None:
        self.response = response
        self.numbers = count()
        self.parser, self.buffer = response.parser(), LogprobBuffer()
        self.reason, self.tokens = "", list[TokenLogprob]()
        self.items: list[dict[str, Any]] = []
        self.growing: Thoughts | Words | None = None
        self.place: dict[str, Any] = {}

    def opening(self) -> Iterator[bytes]:
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self.response.response_object([], None, None))

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        self.tokens += chunk.tokens
        self.reason = chunk.finish_reason or self.reason
        has_ended = bool(self.reason)
        parts = self.parser.feed(chunk.text, is_last=has_ended, is_cut=self.reason != "stop")
        tokens = self.buffer.release(number, chunk.tokens, bool(parts or has_ended))
        if has_ended and not (parts or self.growing or self.items):
            yield from self._begin(Words(""))
        for number, part in enumerate(parts, 1):
            if isinstance(part, ToolCall):
                yield from self._finish()
                yield from self._call(part, self._status(number == len(parts)))
            else:
                yield from self._grow(part, tokens)
                tokens = []
        if has_ended:
            yield from self._finish(self._status(True))

    def _status(self, is_last: bool) -> str:
        """The status of an item that ends now; only the last one of an answer may be incomplete."""
        return end_status(self.reason) if is_last and self.reason else "completed"

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        kind = "response.completed" if self.reason == "stop" else "response.incomplete"
        yield self._event(kind, response=self.response.final_response(self.items, self.reason, usage))

    def failure(self, error: ApiError, usage: dict[str, Any]) -> bytes:
        response = {**self.response.response_object([], "error", usage), "status": "failed"}
        response |= {"incomplete_details": None, "error": {"code": "server_error", "message": error.message}}
        return self._event("response.failed", response=response)

    def _grow(self, part: Thoughts | Words, tokens: Sequence[TokenLogprob]) -> Iterator[bytes]:
        """The events of more thoughts or words."""
        if type(part) is not type(self.growing):
            yield from self._finish()
            yield from self._begin(part)
        assert self.growing is not None
        self.growing = type(part)(self.growing.text + part.text)
        logprobs = {"logprobs": self.response.logprobs(tokens)} if isinstance(part, Words) else {}
        yield self._event(f"{_kind(part)}.delta", **self.place, delta=part.text, **logprobs)

    def _begin(self, part: Thoughts | Words) -> Iterator[bytes]:
        """The events of an item that begins."""
        self.growing = type(part)("")
        item = self.response.item(self.growing, [], "in_progress")
        self.place = {"item_id": item["id"], "output_index": len(self.items), "content_index": 0}
        begun = {**item, "content": []}
        yield self._event("response.output_item.added", output_index=len(self.items), item=begun)
        yield self._event("response.content_part.added", **self.place, part=item["content"][0])

    def _finish(self, status: str = "completed") -> Iterator[bytes]:
        """The events of the item that has grown, if one has."""
        if self.growing is None:
            return
        item = {**self.response.item(self.growing, self.tokens, status), "id": self.place["item_id"]}
        (part,) = item["content"]
        content = {name: part[name] for name in ("text", "logprobs") if name in part}
        yield self._event(f"{_kind(self.growing)}.done", **self.place, **content)
        yield self._event("response.content_part.done", **self.place, part=part)
        yield from self._add(item)
        self.growing = None

    def _call(self, part: ToolCall, status: str) -> Iterator[bytes]:
        """The events of a tool call."""
        call = self.response.item(part, [], status)
        place = {"item_id": call["id"], "output_index": len(self.items)}
        field = "input" if part.is_custom else "arguments"
        kind = "response.custom_tool_call_input" if part.is_custom else "response.function_call_arguments"
        name = {} if part.is_custom else {"name": call["name"]}
        begun = {**call, field: "", "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=len(self.items), item=begun)
        yield self._event(f"{kind}.delta", **place, delta=part.text)
        yield self._event(f"{kind}.done", **place, **name, **{field: part.text})
        yield from self._add(call)

    def _add(self, item: dict[str, Any]) -> Iterator[bytes]:
        """The event of an item that is whole."""
        yield self._event("response.output_item.done", output_index=len(self.items), item=item)
        self.items.append(item)

    def _event(self, kind: str, **content: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(self.numbers), **content}, kind)


def end_status(reason: str) -> str:
    """The status of what ended for a reason."""
    return "completed" if reason == "stop" else "incomplete"


def incomplete_reason(reason: str) -> str:
    """Why a response is incomplete, as OpenAI writes it."""
    return "content_filter" if reason == "content_filter" else "max_output_tokens"


def _kind(part: Thoughts | Words) -> str:
    """The beginning of the names of a part's events."""
    return "response.output_text" if isinstance(part, Words) else "response.reasoning_text"
