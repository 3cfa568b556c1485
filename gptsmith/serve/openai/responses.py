"""POST /v1/responses: OpenAI's newer form of a conversation's answer. Nothing is kept from one to the next."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import TokenLogprob
from gptsmith.serve.errors import ApiError, api_error, unsupported
from gptsmith.serve.log import log_failure
from gptsmith.serve.openai.chat import NO_MODERATION, ChatCompletion, token_logprob
from gptsmith.serve.openai.ids import new_id
from gptsmith.serve.openai.request_mapping import LogprobBuffer
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.common import RefusalPart
from gptsmith.serve.openai.schemas.responses import (
    CustomToolCallItem,
    FunctionCallItem,
    HostedTool,
    InputMedia,
    MessageItem,
    ResponsesCustomTool,
    ResponsesFunctionTool,
    ResponsesRequest,
)
from gptsmith.serve.openai.streaming import SequenceGroup
from gptsmith.serve.openai.tools import OPEN
from gptsmith.serve.served_models import ServedModel
from gptsmith.serve.server_sent_events import PING, EventStream, event
from gptsmith.serve.state import State

LOGPROBS = "message.output_text.logprobs"
NO_HOSTED = "{} runs on OpenAI's own machines: describe a function that does the same, and answer its calls yourself"
NEEDS_A_MEMORY = {
    "store": "nothing that is sent is kept here: leave it out, or set it to false",
    "previous_response_id": "nothing is kept here: send the whole conversation as input",
    "conversation": "nothing is kept here: send the whole conversation as input",
    "background": "nothing is kept here: ask for a stream instead",
    "prompt": "no prompts are kept here: send the text as input",
}


async def responses(state: State, body: ResponsesRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    served = state.models.get(body.model)
    asked = ModelResponse(body, served)
    with ExitStack() as stack:
        writing = SequenceGroup(served, state.metrics, log_fields)
        stack.callback(writing.close)
        writing.reserve(1)
        requests = await state.models.read(asked.chat.requests)
        await writing.begin(state.models, requests, "input")
        if body.stream:
            return EventStream(asked.events(writing, state.settings.ping_s), stack.pop_all().close)
        (text,) = await writing.whole()
        items = asked.items(text.text, text.tokens, text.finish_reason)
        return JSONResponse(asked.response(items, text.finish_reason, writing))


class ModelResponse:
    """A request for a response, and its answer."""

    def __init__(self, body: ResponsesRequest, served: ServedModel) -> None:
        """
        Raises:
            ApiError: a field is not allowed.
        """
        for name, reason in NEEDS_A_MEMORY.items():
            if getattr(body, name):
                raise unsupported(name, reason)
        for number, tool in enumerate(body.tools or []):
            if isinstance(tool, HostedTool):
                raise unsupported(f"tools.{number}", NO_HOSTED.format(tool.type))
        if body.moderation is not None:
            raise unsupported("moderation", NO_MODERATION)
        if body.reasoning is not None and (body.reasoning.summary or body.reasoning.generate_summary):
            raise unsupported("reasoning.summary", "what a model thinks is in its answer as it is: leave it out")
        if others := [name for name in body.include or [] if name != LOGPROBS]:
            raise unsupported("include", f"{others[0]} is not there; {LOGPROBS} is")
        self.body, self.served = body, served
        self.tells_logprobs = LOGPROBS in (body.include or []) or bool(body.top_logprobs)
        self.chat = ChatCompletion(self._as_chat(), served, is_shortened=body.truncation == "auto")
        self.id, self.created = new_id("resp"), int(time.time())
        self.message_id = new_id("msg")

    def _as_chat(self) -> ChatCompletionRequest:
        """The same as a request for a chat completion."""
        body = self.body
        messages: list[dict[str, Any]] = []
        if body.instructions:
            messages.append({"role": "system", "content": body.instructions})
        if isinstance(body.input, str):
            messages.append({"role": "user", "content": body.input})
        for number, item in enumerate([] if isinstance(body.input, str) else body.input):
            if isinstance(item, MessageItem):
                messages.append({"role": item.role, "content": _words(item, f"input.{number}")})
            elif isinstance(item, FunctionCallItem):
                function = {"name": item.name, "arguments": item.arguments}
                call = {"id": item.call_id, "type": "function", "function": function}
                messages.append({"role": "assistant", "tool_calls": [call]})
            elif isinstance(item, CustomToolCallItem):
                custom = {"name": item.name, "input": item.input}
                call = {"id": item.call_id, "type": "custom", "custom": custom}
                messages.append({"role": "assistant", "tool_calls": [call]})
            else:
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        tools = [_tool(tool) for tool in body.tools or []]
        choice = body.tool_choice
        form = body.text.format if body.text else None
        response_format: dict[str, Any] | None = form.model_dump(by_alias=True, exclude_none=True) if form else None
        if form is not None and form.type == "json_schema" and response_format is not None:
            response_format.pop("type")
            response_format = {"type": "json_schema", "json_schema": response_format}
        return ChatCompletionRequest.model_validate(
            {
                "model": body.model,
                "messages": messages,
                "max_completion_tokens": body.max_output_tokens,
                "temperature": body.temperature,
                "top_p": body.top_p,
                "logprobs": self.tells_logprobs or None,
                "top_logprobs": body.top_logprobs or None,
                "response_format": response_format,
                "tools": tools or None,
                "tool_choice": (
                    choice
                    if choice is None or isinstance(choice, str)
                    else {"type": choice.type, choice.type: {"name": choice.name}}
                ),
                "parallel_tool_calls": body.parallel_tool_calls if tools else None,
                "verbosity": body.text.verbosity if body.text else None,
                "reasoning_effort": body.reasoning.effort if body.reasoning else None,
            }
        )

    def _part(self, text: str, tokens: Any) -> dict[str, Any]:
        told = [token_logprob(self.served.tokenizer, one) for one in tokens] if self.tells_logprobs else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}

    def _message(self, text: str, tokens: Any, status: str) -> dict[str, Any]:
        content = [self._part(text, tokens)] if status != "in_progress" else []
        return {
            "type": "message", "id": self.message_id, "status": status, "role": "assistant", "content": content,
        }  # fmt: skip

    def items(self, text: str, tokens: Any, reason: str) -> list[dict[str, Any]]:
        """What the model wrote: a message, or calls."""
        words, calls = self.chat.parsed(text)
        status = "completed" if reason == "stop" else "incomplete"
        if not calls:
            return [self._message(words or "", tokens, status)]
        items: list[dict[str, Any]] = []
        for call in calls:
            named = {"call_id": new_id("call"), "name": call.name, "status": status}
            if call.is_custom:
                items.append({"type": "custom_tool_call", "id": new_id("ctc"), **named, "input": call.text})
            else:
                items.append({"type": "function_call", "id": new_id("fc"), **named, "arguments": call.text})
        return items

    def response(self, items: list[dict[str, Any]], reason: str | None, writing: SequenceGroup) -> dict[str, Any]:
        """The whole answer, or, without a reason to have ended, its beginning."""
        body = self.body
        status = "in_progress" if reason is None else "completed" if reason == "stop" else "incomplete"
        counts = writing.usage()
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": counts["prompt_tokens_details"]["cached_tokens"], "cache_write_tokens": 0
            },
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counts["total_tokens"],
        }  # fmt: skip
        sampling = self.served.sampling({"temperature": body.temperature, "top_p": body.top_p})
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "model": self.served.name,
            "output": items,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "service_tier": "default",
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": {"type": "text"}}
            if body.text is None
            else body.text.model_dump(by_alias=True, exclude_none=True),
            "tool_choice": "auto"
            if body.tool_choice is None
            else body.tool_choice
            if isinstance(body.tool_choice, str)
            else body.tool_choice.model_dump(),
            "tools": [
                {**({"strict": None, "parameters": None} if tool.type == "function" else {}), **tool.model_dump()}
                for tool in body.tools or []
            ],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "truncation": body.truncation or "disabled",
            "usage": usage if reason is not None else None,
            "user": body.user,
        }

    async def events(self, writing: SequenceGroup, ping_s: float) -> AsyncIterator[bytes]:
        """The answer as typed events, numbered."""
        numbers = count()

        def told(kind: str, **content: Any) -> bytes:
            return event({"type": kind, "sequence_number": next(numbers), **content}, kind)

        try:
            async for data in self._told_events(told, writing, ping_s):
                yield data
        except Exception as error:
            if not isinstance(error, ApiError):
                log_failure(error)
            problem = api_error(error)
            failed = {**self.response([], "error", writing), "status": "failed", "incomplete_details": None}
            failed["error"] = {"code": "server_error", "message": problem.message}
            yield told("response.failed", response=failed)

    async def _told_events(self, told: Any, writing: SequenceGroup, ping_s: float) -> AsyncIterator[bytes]:
        yield told("response.created", response=self.response([], None, writing))
        yield told("response.in_progress", response=self.response([], None, writing))
        place = {"item_id": self.message_id, "output_index": 0, "content_index": 0}
        text, sent, reason, held = "", 0, "", LogprobBuffer()
        tokens: list[TokenLogprob] = []
        has_begun, is_words = False, self.chat.toolset is None
        async for item in writing.pieces(ping_s):
            if item is None:
                yield PING
                continue
            _, piece = item
            text += piece.text
            tokens += piece.tokens
            reason = piece.finish_reason or reason
            is_words = is_words or not OPEN.startswith(text[: len(OPEN)])
            if not is_words:
                is_words = bool(reason) and not self.chat.parsed(text)[1]
            delta = text[sent:] if is_words else ""
            new = held.with_text(0, piece.tokens, bool(delta or reason))
            if is_words and not has_begun and (delta or reason):
                has_begun = True
                yield told("response.output_item.added", output_index=0, item=self._message("", [], "in_progress"))
                yield told("response.content_part.added", **place, part=self._part("", []))
            if delta:
                sent = len(text)
                logprobs = [token_logprob(self.served.tokenizer, one) for one in new] if self.tells_logprobs else []
                yield told("response.output_text.delta", **place, delta=delta, logprobs=logprobs)
        items = self.items(text, tokens, reason)
        if has_begun:
            part = items[0]["content"][0]
            yield told("response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"])
            yield told("response.content_part.done", **place, part=part)
            yield told("response.output_item.done", output_index=0, item=items[0])
        else:
            for number, call in enumerate(items):
                where = {"item_id": call["id"], "output_index": number}
                is_custom = call["type"] == "custom_tool_call"
                given = "input" if is_custom else "arguments"
                kind = "response.custom_tool_call_input" if is_custom else "response.function_call_arguments"
                begun = {**call, given: "", "status": "in_progress"}
                named = {} if is_custom else {"name": call["name"]}
                yield told("response.output_item.added", output_index=number, item=begun)
                yield told(f"{kind}.delta", **where, delta=call[given])
                yield told(f"{kind}.done", **where, **named, **{given: call[given]})
                yield told("response.output_item.done", output_index=number, item=call)
        ending = "response.completed" if reason == "stop" else "response.incomplete"
        yield told(ending, response=self.response(items, reason, writing))


def _tool(tool: ResponsesFunctionTool | ResponsesCustomTool | HostedTool) -> dict[str, Any]:
    """A tool as chat completions have it."""
    told = tool.model_dump(exclude={"type"}, exclude_none=True)
    if told.get("format", {}).get("type") == "grammar":
        told["format"] = {"type": "grammar", "grammar": {key: told["format"][key] for key in ("syntax", "definition")}}
    return {"type": tool.type, tool.type: told}


def _words(message: MessageItem, place: str) -> str:
    """The text of a message.

    Raises:
        ApiError: a part of it is no text.
    """
    if isinstance(message.content, str):
        return message.content
    words = []
    for number, part in enumerate(message.content):
        if isinstance(part, InputMedia):
            raise unsupported(f"{place}.content.{number}", f"{part.type} is no text, and models here read text only")
        words.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    return "".join(words)
