"""The lines of Ollama's answers: the parts of a text, and the counts and durations at its end."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gptsmith.generate.request import OutputChunk, TokenLogprob
from gptsmith.serve.chat.answer import AnswerParser, Part, Thoughts, Words
from gptsmith.serve.chat.generation import ChunkEvents
from gptsmith.serve.chat.logprobs import LogprobBuffer, chat_logprob
from gptsmith.serve.chat.streaming import SequenceGroup, SequenceOutput
from gptsmith.serve.chat.tools import ToolCall
from gptsmith.serve.errors import ApiError
from gptsmith.serve.ollama.errors import error_body
from gptsmith.serve.server_sent_events import json_line
from gptsmith.text.tokenizer import Tokenizer

NDJSON = "application/x-ndjson"
NANOSECONDS = 1_000_000_000


class AnswerForm:
    """How one endpoint writes an answer: of a conversation as a message, else as a response.

    Attributes:
        tokenizer: spells tokens, if log-probabilities are requested; else None.
    """

    def __init__(self, model: str, is_chat: bool) -> None:
        self.model, self.is_chat = model, is_chat
        self.tokenizer: Tokenizer | None = None

    def line(self, parts: Sequence[Part], **more: Any) -> dict[str, Any]:
        """A line with some parts of the text."""
        content = "".join(part.text for part in parts if isinstance(part, Words))
        thoughts = "".join(part.text for part in parts if isinstance(part, Thoughts))
        calls = [part for part in parts if isinstance(part, ToolCall)]
        fields: dict[str, Any] = {"thinking": thoughts} if thoughts else {}
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        head = {"model": self.model, "created_at": now}
        if not self.is_chat:
            return {**head, "response": content, **fields, "done": False, **more}
        if calls:
            fields["tool_calls"] = [
                {"function": {"name": call.name, "arguments": _arguments(call.text)}} for call in calls
            ]
        return {**head, "message": {"role": "assistant", "content": content, **fields}, "done": False, **more}

    def logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The field with log-probabilities, if there are any and they are requested."""
        if self.tokenizer is None or not tokens:
            return {}
        return {"logprobs": [chat_logprob(self.tokenizer, token) for token in tokens]}

    def whole(
        self, parts: Sequence[Part], output: SequenceOutput, usage: dict[str, Any], group: SequenceGroup
    ) -> dict[str, Any]:
        """An answer that does not stream."""
        return self.line(parts, **self.logprobs(output.tokens), **self.end(output.finish_reason, usage, group))

    def end(self, reason: str, usage: dict[str, Any], group: SequenceGroup) -> dict[str, Any]:
        """The fields of the last line."""
        first_s, rest_s = group.durations_s()
        return {
            "done": True,
            "done_reason": reason,
            "total_duration": int((first_s + rest_s) * NANOSECONDS),
            "load_duration": 0,
            "prompt_eval_count": usage["prompt_tokens"],
            "prompt_eval_duration": int(first_s * NANOSECONDS),
            "eval_count": usage["completion_tokens"],
            "eval_duration": int(rest_s * NANOSECONDS),
        }

    def done(self, reason: str) -> dict[str, Any]:
        """The answer to a request without a prompt, which only loads or unloads the model."""
        return self.line([], done=True, done_reason=reason)


class AnswerLines(ChunkEvents):
    """An answer as lines of JSON. A call comes whole, once it is complete."""

    ping = b""
    """A line of JSON says something, and an empty one is an error to clients."""
    media_type = NDJSON

    def __init__(
        self,
        form: AnswerForm,
        parser: AnswerParser | None,
        group: SequenceGroup,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Without a parser, all is words; `more` are fields of the last line."""
        self.form, self.parser, self.group, self.more = form, parser, group, more
        self.reason = ""
        self.buffer = LogprobBuffer()

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        self.reason = chunk.finish_reason or ""
        is_last = chunk.finish_reason is not None
        parts: list[Part] = [Words(chunk.text)] if chunk.text else []
        if self.parser is not None:
            parts = self.parser.feed(chunk.text, is_last=is_last, is_cut=self.reason != "stop")
        logprobs = self.form.logprobs(self.buffer.release(number, chunk.tokens, bool(parts) or is_last))
        if logprobs and not parts:
            parts = [Words("")]
        for place, part in enumerate(parts):
            yield _line(self.form.line([part], **({} if place else logprobs)))

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        yield _line(self.form.line([], **self.form.end(self.reason, usage, self.group), **self.more))

    def failure(self, error: ApiError, usage: dict[str, Any]) -> bytes:
        return _line(error_body(error))


def _line(data: dict[str, Any]) -> bytes:
    return json_line(data) + b"\n"


def _arguments(text: str) -> dict[str, Any]:
    """The arguments of a call; empty if it was cut off in the midst of them."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
