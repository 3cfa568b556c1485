"""POST /v1/chat/completions: answers to conversations."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import Request, TokenLogprob, TopLogprob
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.openai.ids import new_id
from gptsmith.serve.openai.messages import flatten_messages, prompt_token_ids
from gptsmith.serve.openai.reasoning import reasoning_instructions, template_variables
from gptsmith.serve.openai.request_mapping import (
    LogprobBuffer,
    check_sampling_fields,
    engine_request,
    resolve_max_tokens,
    token_bytes,
)
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.streaming import SequenceGroup, SequenceOutput, resolve_seed
from gptsmith.serve.openai.structured_output import response_format_constraint
from gptsmith.serve.openai.tools import OPEN, ToolCall, resolve_tools
from gptsmith.serve.served_models import ServedModel
from gptsmith.serve.server_sent_events import DONE, PING, EventStream, event
from gptsmith.serve.state import State
from gptsmith.text.chat_template import latest_turns, room_for_turns
from gptsmith.text.tokenizer import Tokenizer

NO_MODERATION = "no model here judges what is said: leave it out, and have another program judge what comes back"


async def chat_completions(state: State, body: ChatCompletionRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    served = state.models.get(body.model)
    asked = ChatCompletion(body, served)
    with ExitStack() as stack:
        writing = SequenceGroup(served, state.metrics, log_fields)
        stack.callback(writing.close)
        writing.reserve(asked.num_sequences)
        writing.sequences_per_prompt = asked.num_sequences
        requests = await state.models.read(asked.requests)
        await writing.begin(state.models, requests, "messages")
        if body.stream:
            return EventStream(asked.events(writing, state.settings.ping_s), stack.pop_all().close)
        return JSONResponse(asked.answer(await writing.whole(), writing))


class ChatCompletion:
    """A conversation that is to be answered, and its answer."""

    def __init__(self, body: ChatCompletionRequest, served: ServedModel, *, is_shortened: bool = False) -> None:
        """`is_shortened` says whether the first turns are left out where the conversation is too long.

        Raises:
            ApiError: the model is not made for conversations, or fields are not allowed.
        """
        self.body, self.served, self.is_shortened = body, served, is_shortened
        served.template()
        _refuse_what_is_not_done(body)
        self.num_sequences = body.n or 1
        check_sampling_fields(body, served, self.num_sequences)
        if body.top_logprobs is not None and not body.logprobs:
            raise refused("top_logprobs", "it needs logprobs: set it to true")
        if body.max_tokens is not None and body.max_completion_tokens is not None:
            raise refused("max_completion_tokens", "it is the newer name of max_tokens: give one of them")
        param = "max_tokens" if body.max_tokens is not None else "max_completion_tokens"
        given = body.max_tokens if body.max_tokens is not None else body.max_completion_tokens
        self.max_tokens = resolve_max_tokens(given, served.context_length, served, param)
        self.toolset = resolve_tools(body)
        if body.continue_final_message and self.toolset is not None:
            raise refused("continue_final_message", "it does not go together with tools")
        form = body.response_format
        self.constraint = response_format_constraint(form) if self.toolset is None else self.toolset.constraint(form)
        self.seed = resolve_seed(body.seed)
        self.id, self.created = new_id("chatcmpl"), int(time.time())

    def requests(self) -> list[Request]:
        """For the engine."""
        told = reasoning_instructions(self.body, self.served.template())
        if self.toolset is not None:
            told.append(self.toolset.introduction())
        turns = flatten_messages(self.body.messages, told)
        variables = template_variables(self.body)
        if self.is_shortened:
            room = room_for_turns(self.served.context_length, self.max_tokens)
            turns = latest_turns(turns, lambda some: len(prompt_token_ids(self.served, some, variables)) <= room)
        ids = prompt_token_ids(self.served, turns, variables, goes_on=bool(self.body.continue_final_message))
        return [
            engine_request(
                self.body, self.served, ids,
                max_tokens=self.max_tokens, seed=self.seed, choice=choice, constraint=self.constraint,
                top_logprobs=(self.body.top_logprobs or 0) if self.body.logprobs else None,
            )
            for choice in range(self.num_sequences)
        ]  # fmt: skip

    def head(self, kind: str) -> dict[str, Any]:
        """What stands in each part of the answer."""
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.served.name}
        return {**head, "service_tier": "default", "system_fingerprint": None}

    def parsed(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """The words of a text, or its calls."""
        return (text, []) if self.toolset is None else self.toolset.parse(text)

    def answer(self, texts: Sequence[SequenceOutput], writing: SequenceGroup) -> dict[str, Any]:
        """The answer at once."""
        choices = []
        for number, text in enumerate(texts):
            words, calls = self.parsed(text.text)
            message: dict[str, Any] = {"role": "assistant", "content": words, "refusal": None, "annotations": []}
            message |= self._calls(calls)
            choices.append(
                {
                    "index": number,
                    "message": message,
                    "logprobs": self._logprobs(text.tokens),
                    "finish_reason": self._reason(text.finish_reason, calls),
                }
            )
        return {**self.head("chat.completion"), "choices": choices, "usage": writing.usage()}

    async def events(self, writing: SequenceGroup, ping_s: float) -> AsyncIterator[bytes]:
        """The answer as it comes. A call comes whole, once it is."""
        head, held = self.head("chat.completion.chunk"), LogprobBuffer()
        wants_usage = bool(self.body.stream_options and self.body.stream_options.include_usage)
        more = {"usage": None} if wants_usage else {}

        def chunk(number: int, delta: dict[str, Any], reason: str | None = None, told: Any = None) -> bytes:
            choice = {"index": number, "delta": delta, "logprobs": told, "finish_reason": reason}
            return event({**head, "choices": [choice], **more})

        for number in range(self.num_sequences):
            yield chunk(number, {"role": "assistant", "content": "", "refusal": None})
        kept = [""] * self.num_sequences
        """What may be the beginning of a call, and what is one."""
        is_words = [self.toolset is None] * self.num_sequences
        async for item in writing.pieces(ping_s):
            if item is None:
                yield PING
                continue
            number, piece = item
            calls: list[ToolCall] = []
            text, ended = piece.text, piece.finish_reason is not None
            if not is_words[number]:
                kept[number] += text
                if not OPEN.startswith(kept[number][: len(OPEN)]) or (ended and not kept[number].startswith(OPEN)):
                    is_words[number], text = True, kept[number]
                elif ended:
                    words, calls = self.parsed(kept[number])
                    text = words or ""
                else:
                    text = ""
            told = self._logprobs(held.with_text(number, piece.tokens, bool(text or ended)))
            if calls:
                yield chunk(number, self._calls(calls, is_stream=True), told=told)
            elif text or (told and told["content"]):
                yield chunk(number, {"content": text}, told=told)
            if ended:
                yield chunk(number, {}, self._reason(piece.finish_reason or "", calls))
        if wants_usage:
            yield event({**head, "choices": [], "usage": writing.usage()})
        yield DONE

    def _calls(self, calls: Sequence[ToolCall], is_stream: bool = False) -> dict[str, Any]:
        """Calls as a message has them."""
        if not calls:
            return {}
        if self.body.functions:
            return {"function_call": {"name": calls[0].name, "arguments": calls[0].text}}
        told: list[dict[str, Any]] = []
        for number, call in enumerate(calls):
            content = (
                {"type": "custom", "custom": {"name": call.name, "input": call.text}}
                if call.is_custom
                else {"type": "function", "function": {"name": call.name, "arguments": call.text}}
            )
            told.append({**({"index": number} if is_stream else {}), "id": new_id("call"), **content})
        return {"tool_calls": told}

    def _reason(self, reason: str, calls: Sequence[ToolCall]) -> str:
        if not calls or reason != "stop":
            return reason
        return "function_call" if self.body.functions else "tool_calls"

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        return {"content": [token_logprob(self.served.tokenizer, told) for told in tokens], "refusal": None}


def token_logprob(tokenizer: Tokenizer, told: TokenLogprob) -> dict[str, Any]:
    """A token as OpenAI's conversations tell it."""
    return {**_likely(tokenizer, told), "top_logprobs": [_likely(tokenizer, one) for one in told.top_logprobs]}


def _likely(tokenizer: Tokenizer, likely: TopLogprob) -> dict[str, Any]:
    data = token_bytes(tokenizer, likely.id)
    return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": likely.logprob}


def _refuse_what_is_not_done(body: ChatCompletionRequest) -> None:
    """
    Raises:
        ApiError: a field asks for something that is not done here; it is named.
    """
    if body.store:
        raise unsupported("store", "nothing that is sent is kept here: leave it out, or set it to false")
    if body.audio is not None or "audio" in (body.modalities or []):
        raise unsupported("audio" if body.audio is not None else "modalities", "models here read and write text only")
    if body.web_search_options is not None:
        raise unsupported(
            "web_search_options", "nothing here reaches the web: search yourself, and send what you find as a message"
        )
    if body.moderation is not None:
        raise unsupported("moderation", NO_MODERATION)
