"""The stream of a response: typed events, numbered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

from gptsmith.generate.request import OutputChunk, TokenLogprob
from gptsmith.serve.errors import ApiError
from gptsmith.serve.openai.generation import ChunkEvents
from gptsmith.serve.openai.logprobs import LogprobBuffer
from gptsmith.serve.openai.tools import ToolCallStream, Toolset
from gptsmith.serve.server_sent_events import event


class ResponseParts(Protocol):
    """The parts of a response that its stream needs."""

    message_id: str
    toolset: Toolset | None

    def response_object(
        self, items: list[dict[str, Any]], reason: str | None, usage: dict[str, Any] | None
    ) -> dict[str, Any]: ...
    def items(self, text: str, tokens: list[TokenLogprob], reason: str) -> list[dict[str, Any]]: ...
    def message(self, text: str, tokens: list[TokenLogprob], status: str) -> dict[str, Any]: ...
    def text_part(self, text: str, tokens: list[TokenLogprob]) -> dict[str, Any]: ...
    def logprobs(self, tokens: list[TokenLogprob]) -> list[dict[str, Any]]: ...


class ResponseEvents(ChunkEvents):
    """The events of a response that is generated: of a message as it grows, of tool calls at the end."""

    def __init__(self, response: ResponseParts) -> None:
        self.response = response
        self.numbers = count()
        self.calls, self.buffer = ToolCallStream(response.toolset), LogprobBuffer()
        self.place = {"item_id": response.message_id, "output_index": 0, "content_index": 0}
        self.text, self.reason, self.tokens = "", "", list[TokenLogprob]()
        self.has_message = False

    def opening(self) -> Iterator[bytes]:
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self.response.response_object([], None, None))

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        self.text += chunk.text
        self.tokens += chunk.tokens
        self.reason = chunk.finish_reason or self.reason
        delta, calls = self.calls.feed(chunk.text, bool(self.reason))
        tokens = self.buffer.release(number, chunk.tokens, bool(delta or self.reason))
        if not self.has_message and (delta or (self.reason and not calls)):
            self.has_message = True
            message = self.response.message("", [], "in_progress")
            yield self._event("response.output_item.added", output_index=0, item=message)
            yield self._event("response.content_part.added", **self.place, part=self.response.text_part("", []))
        if delta:
            logprobs = self.response.logprobs(tokens)
            yield self._event("response.output_text.delta", **self.place, delta=delta, logprobs=logprobs)

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        items = self.response.items(self.text, self.tokens, self.reason)
        if self.has_message:
            part = items[0]["content"][0]
            text = {"text": part["text"], "logprobs": part["logprobs"]}
            yield self._event("response.output_text.done", **self.place, **text)
            yield self._event("response.content_part.done", **self.place, part=part)
            yield self._event("response.output_item.done", output_index=0, item=items[0])
        else:
            for number, call in enumerate(items):
                yield from self._call(number, call)
        kind = "response.completed" if self.reason == "stop" else "response.incomplete"
        yield self._event(kind, response=self.response.response_object(items, self.reason, usage))

    def failure(self, error: ApiError, usage: dict[str, Any]) -> bytes:
        response = {**self.response.response_object([], "error", usage), "status": "failed"}
        response |= {"incomplete_details": None, "error": {"code": "server_error", "message": error.message}}
        return self._event("response.failed", response=response)

    def _call(self, number: int, call: dict[str, Any]) -> Iterator[bytes]:
        """The events of a tool call."""
        place = {"item_id": call["id"], "output_index": number}
        is_custom = call["type"] == "custom_tool_call"
        field = "input" if is_custom else "arguments"
        kind = "response.custom_tool_call_input" if is_custom else "response.function_call_arguments"
        name = {} if is_custom else {"name": call["name"]}
        begun = {**call, field: "", "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=number, item=begun)
        yield self._event(f"{kind}.delta", **place, delta=call[field])
        yield self._event(f"{kind}.done", **place, **name, **{field: call[field]})
        yield self._event("response.output_item.done", output_index=number, item=call)

    def _event(self, kind: str, **content: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(self.numbers), **content}, kind)
