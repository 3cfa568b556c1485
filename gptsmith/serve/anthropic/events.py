"""A message as Anthropic's server-sent events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from gptsmith.generate.request import OutputChunk
from gptsmith.serve.anthropic.errors import error_body
from gptsmith.serve.chat.answer import AnswerParser, Part, Thoughts, Words
from gptsmith.serve.chat.generation import ChunkEvents
from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.chat.tools import ToolCall
from gptsmith.serve.errors import ApiError
from gptsmith.serve.server_sent_events import event


def stop_fields(reason: str, stop_string: str | None, has_calls: bool) -> dict[str, str | None]:
    """Why a message ended, as Anthropic writes it."""
    if reason == "content_filter":
        name = "refusal"
    elif reason != "stop":
        name = "max_tokens"
    elif stop_string is not None:
        name = "stop_sequence"
    else:
        name = "tool_use" if has_calls else "end_turn"
    return {"stop_reason": name, "stop_sequence": stop_string}


def message_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Tokens as Anthropic counts them: those of the prompt that were found in the cache are apart."""
    num_cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"] - num_cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": num_cached,
        "output_tokens": usage["completion_tokens"],
    }


def named(data: dict[str, Any]) -> bytes:
    """An event whose name is its type."""
    return event(data, data["type"])


class MessageEvents(ChunkEvents):
    """The stream of a message. A call comes whole, once it is complete."""

    ping = named({"type": "ping"})

    def __init__(
        self,
        head: dict[str, Any],
        num_prompt_tokens: int,
        parser: AnswerParser,
        more: Mapping[str, Any] = MappingProxyType({}),
        *,
        shows_thoughts: bool = True,
    ) -> None:
        """`more` are fields for the end of the message."""
        self.head, self.num_prompt_tokens, self.parser, self.more = head, num_prompt_tokens, parser, more
        self.shows_thoughts = shows_thoughts
        self.number = -1
        self.open: type[Part] | None = None
        self.has_calls = False
        self.reason = ""
        self.stop_string: str | None = None

    def opening(self) -> Iterator[bytes]:
        usage = {"input_tokens": self.num_prompt_tokens, "output_tokens": 0}
        yield named({"type": "message_start", "message": {**self.head, "usage": usage}})
        yield self.ping

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        reason = chunk.finish_reason
        for part in self.parser.feed(chunk.text, is_last=reason is not None, is_cut=reason != "stop"):
            if self.shows_thoughts or not isinstance(part, Thoughts):
                yield from self._part(part)
        self.reason, self.stop_string = reason or "", chunk.stop_string

    def _part(self, part: Part) -> Iterator[bytes]:
        if isinstance(part, ToolCall):
            self.has_calls = True
            yield from self._stop()
            block = {"type": "tool_use", "id": new_id("toolu_"), "name": part.name, "input": {}}
            yield from self._start(part, block)
            yield self._delta({"type": "input_json_delta", "partial_json": part.text})
            yield from self._stop()
            return
        if self.open is not type(part):
            yield from self._stop()
            empty = (
                {"type": "thinking", "thinking": "", "signature": ""}
                if isinstance(part, Thoughts)
                else {"type": "text", "text": "", "citations": None}
            )
            yield from self._start(part, empty)
        name = "text" if isinstance(part, Words) else "thinking"
        yield self._delta({"type": f"{name}_delta", name: part.text})

    def _start(self, part: Part, block: dict[str, Any]) -> Iterator[bytes]:
        self.number, self.open = self.number + 1, type(part)
        yield named({"type": "content_block_start", "index": self.number, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return named({"type": "content_block_delta", "index": self.number, "delta": delta})

    def _stop(self) -> Iterator[bytes]:
        if self.open is not None:
            yield named({"type": "content_block_stop", "index": self.number})
        self.open = None

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        yield from self._stop()
        delta = stop_fields(self.reason, self.stop_string, self.has_calls)
        yield named({"type": "message_delta", "delta": delta, "usage": message_usage(usage), **self.more})
        yield named({"type": "message_stop"})

    def failure(self, error: ApiError, usage: dict[str, Any]) -> bytes:
        return named(error_body(error))
