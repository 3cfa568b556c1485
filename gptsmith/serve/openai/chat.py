"""POST /v1/chat/completions: answers to conversations."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import Response

from gptsmith.generate.request import OutputChunk, TokenLogprob
from gptsmith.serve.chat.answer import Part, Thoughts, Words
from gptsmith.serve.chat.chat_job import ChatRequestJob
from gptsmith.serve.chat.generation import ChunkEvents, generate_response
from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.chat.logprobs import LogprobBuffer, chat_logprob
from gptsmith.serve.chat.request_mapping import (
    refuse_fields,
)
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.chat.tools import ToolCall
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.openai.functions import resolve_tools
from gptsmith.serve.openai.refusals import NO_MODERATION, NO_STORE
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.server_sent_events import DONE, event
from gptsmith.serve.state import State

TEXT_ONLY = "models here read and write text only"
UNSUPPORTED = {
    "store": NO_STORE,
    "audio": TEXT_ONLY,
    "web_search_options": "nothing here reaches the web: search yourself, and send what you find as a message",
    "moderation": NO_MODERATION,
}


async def chat_completions(state: State, body: ChatCompletionRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    job = ChatCompletionJob(body, await state.models.writer(body.model))
    return await generate_response(state, job, log_fields)


class ChatCompletionJob(ChatRequestJob):
    """A request for a chat completion."""

    def __init__(self, body: ChatCompletionRequest, served: ServedModel) -> None:
        """
        Raises:
            ApiError: the model was not tuned on conversations, or fields are not allowed.
        """
        served.template()
        refuse_fields(body, UNSUPPORTED)
        if "audio" in (body.modalities or []):
            raise unsupported("modalities", TEXT_ONLY)
        if body.max_tokens is not None and body.max_completion_tokens is not None:
            raise refused("max_completion_tokens", "it is the newer name of max_tokens: give one of them")
        field = "max_completion_tokens" if body.max_tokens is None else "max_tokens"
        super().__init__(body, served, resolve_tools(body), max_tokens_field=field)
        self.body = body
        self.id, self.created = new_id("chatcmpl-"), int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that every part of the answer has."""
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.served.name}
        omitted = {"omitted_messages": self.num_omitted_messages} if self.truncates else {}
        return {**head, "service_tier": "default", "system_fingerprint": None, **omitted}

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        choices = []
        for number, output in enumerate(outputs):
            parts = self.parts(output)
            calls = [part for part in parts if isinstance(part, ToolCall)]
            words = "".join(part.text for part in parts if isinstance(part, Words))
            thoughts = "".join(part.text for part in parts if isinstance(part, Thoughts))
            message: dict[str, Any] = {"role": "assistant", "content": words or (None if calls else "")}
            message |= {"refusal": None, "annotations": []}
            message |= {"reasoning_content": thoughts} if thoughts else {}
            choices.append(
                {
                    "index": number,
                    "message": message | self.call_fields(calls),
                    "logprobs": self.logprobs(output.tokens),
                    "finish_reason": self.finish_reason(output.finish_reason, bool(calls)),
                }
            )
        return {**self.head("chat.completion"), "choices": choices, "usage": usage, **self.document_fields()}

    def chunk_events(self) -> ChunkEvents:
        return ChatCompletionEvents(self)

    def call_fields(self, calls: Sequence[ToolCall], first: int | None = None) -> dict[str, Any]:
        """The fields of a message that hold its calls; in a stream, with their numbers from `first` on."""
        if not calls:
            return {}
        if self.body.functions:
            return {"function_call": {"name": calls[0].name, "arguments": calls[0].text}}
        fields: list[dict[str, Any]] = []
        for number, call in enumerate(calls):
            content = (
                {"type": "custom", "custom": {"name": call.name, "input": call.text}}
                if call.is_custom
                else {"type": "function", "function": {"name": call.name, "arguments": call.text}}
            )
            place = {} if first is None else {"index": first + number}
            fields.append({**place, "id": new_id("call_"), **content})
        return {"tool_calls": fields}

    def finish_reason(self, reason: str, has_calls: bool) -> str:
        """Why a sequence ended, as chat completions write it."""
        if not has_calls or reason != "stop":
            return reason
        return "function_call" if self.body.functions else "tool_calls"

    def logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """Log-probabilities, if they are requested."""
        if not self.body.logprobs:
            return None
        return {"content": [chat_logprob(self.served.tokenizer, token) for token in tokens], "refusal": None}


class ChatCompletionEvents(ChunkEvents):
    """The stream of a chat completion. A call comes whole, once it is complete."""

    def __init__(self, job: ChatCompletionJob) -> None:
        self.job, options = job, job.body.stream_options
        self.head = job.head("chat.completion.chunk")
        self.includes_usage = bool(options and options.include_usage)
        self.more = {"usage": None} if self.includes_usage else {}
        self.buffer = LogprobBuffer()
        self.parsers = [job.parser() for _ in range(job.num_sequences)]
        self.num_calls = [0] * job.num_sequences

    def opening(self) -> Iterator[bytes]:
        for number in range(self.job.num_sequences):
            yield self._event(number, {"role": "assistant", "content": "", "refusal": None})

    def chunk(self, number: int, chunk: OutputChunk) -> Iterator[bytes]:
        reason = chunk.finish_reason
        parts = self.parsers[number].feed(chunk.text, is_last=reason is not None, is_cut=reason != "stop")
        logprobs = self.job.logprobs(self.buffer.release(number, chunk.tokens, bool(parts or reason)))
        deltas = [self._delta(number, part) for part in parts]
        if not deltas and logprobs and logprobs["content"]:
            deltas = [{"content": ""}]
        for place, delta in enumerate(deltas):
            yield self._event(number, delta, logprobs=None if place else logprobs)
        if reason is not None:
            yield self._event(number, {}, self.job.finish_reason(reason, self.num_calls[number] > 0))

    def _delta(self, number: int, part: Part) -> dict[str, Any]:
        """A part of a message that goes on."""
        if isinstance(part, ToolCall):
            self.num_calls[number] += 1
            return self.job.call_fields([part], first=self.num_calls[number] - 1)
        return {"content" if isinstance(part, Words) else "reasoning_content": part.text}

    def closing(self, usage: dict[str, Any]) -> Iterator[bytes]:
        if self.includes_usage:
            yield event({**self.head, "choices": [], "usage": usage})
        yield DONE

    def _event(self, number: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        documents = {} if reason is None else self.job.document_fields()
        return event({**self.head, "choices": [choice], **self.more, **documents})
