"""/v1/responses: OpenAI's newer form of an answer to a conversation. The latest are kept in memory, so that the next
request can refer to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.generate.request import TokenLogprob
from gptsmith.serve.chat.answer import Part, Thoughts, Words
from gptsmith.serve.chat.chat_job import ChatJob
from gptsmith.serve.chat.generation import ChunkEvents, generate_response
from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.chat.logprobs import chat_logprob
from gptsmith.serve.chat.reasoning import template_variables
from gptsmith.serve.chat.request_mapping import refuse_fields, resolve_max_tokens, resolve_seed
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.chat.tools import make_toolset
from gptsmith.serve.errors import unsupported
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.refusals import NO_MODERATION
from gptsmith.serve.openai.response_events import ResponseEvents, end_status, incomplete_reason
from gptsmith.serve.openai.response_input import (
    chat_messages,
    chat_response_format,
    chat_tool_choice,
    chat_tools,
    split_name,
)
from gptsmith.serve.openai.schemas.responses import Reasoning, ResponsesRequest, TextConfig
from gptsmith.serve.openai.stored_responses import StoredResponses, not_found
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State

INCLUDE_LOGPROBS = "message.output_text.logprobs"
INCLUDE_ENCRYPTED = "reasoning.encrypted_content"
"""Thoughts come as they are, so that nothing needs to be encrypted."""
UNSUPPORTED = {
    "conversation": "there are no conversation objects here: use previous_response_id, or send all as input",
    "background": "there are no tasks in the background here: request a stream instead",
    "prompt": "no prompts are stored here: send the text as input",
    "moderation": NO_MODERATION,
}


async def responses(state: State, body: ResponsesRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    served = await state.models.writer(body.model)
    with served.reserved(1):
        job = await state.models.workers.run_on_reader(lambda: ResponseJob(body, served, state.stored))
    return await generate_response(state, job, log_fields)


async def get_response(state: State, request: Request) -> Response:
    """A response that is stored.

    Raises:
        ApiError: there is none of that id.
    """
    found = state.stored.get(request.path_params["name"])
    if found is None:
        raise not_found(request.path_params["name"])
    return Response(
        await state.models.workers.run_on_reader(lambda: json_bytes(found.response)), media_type="application/json"
    )


async def delete_response(state: State, request: Request) -> Response:
    """Forgets a response that is stored.

    Raises:
        ApiError: there is none of that id.
    """
    name = request.path_params["name"]
    if not state.stored.delete(name):
        raise not_found(name)
    return JSONResponse({"id": name, "object": "response", "deleted": True})


class ResponseJob(ChatJob):
    """A request for a response."""

    prompt_field = "input"
    format_field = "text.format"

    def __init__(self, body: ResponsesRequest, served: ServedModel, stored: StoredResponses) -> None:
        """
        Raises:
            ApiError: the model was not tuned on conversations, or a field is not allowed.
        """
        refuse_fields(body, UNSUPPORTED)
        self.stored, self.conversation = stored, stored.conversation(body)
        self.text, self.reasoning = body.text or TextConfig(), body.reasoning or Reasoning()
        if others := [name for name in body.include or [] if name not in (INCLUDE_LOGPROBS, INCLUDE_ENCRYPTED)]:
            raise unsupported("include", f"{others[0]} is not there; {INCLUDE_LOGPROBS} is")
        tools = chat_tools(body.tools or [])
        self.body, self.has_logprobs = body, INCLUDE_LOGPROBS in (body.include or []) or bool(body.top_logprobs)
        served.template()
        super().__init__(
            body, served, chat_messages(body.instructions, self.conversation.items),
            max_tokens=resolve_max_tokens(
                body.max_output_tokens, served.context_length, served, "max_output_tokens"
            ),
            seed=resolve_seed(None),
            toolset=make_toolset(
                tools, chat_tool_choice(body.tool_choice), body.parallel_tool_calls if tools else None
            ),
            response_format=chat_response_format(self.text.format),
            variables=template_variables(
                self.reasoning.effort, body.wants_thoughts, body.chat_template_kwargs
            ),
            effort=self.reasoning.effort, verbosity=self.text.verbosity,
            top_logprobs=(body.top_logprobs or 0) if self.has_logprobs else None,
            truncates=body.truncation == "auto", uses_documents=body.documents is not False,
        )  # fmt: skip
        self.id, self.created = stored.new_id("resp_"), int(time.time())

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        parts = self.parts(output) or [Words("")]
        items = [self.item(part, output.tokens, "completed") for part in parts]
        items[-1]["status"] = end_status(output.finish_reason)
        return self.final_response(items, output.finish_reason, usage)

    def chunk_events(self) -> ChunkEvents:
        return ResponseEvents(self)

    def logprobs(self, tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
        """Log-probabilities; none if they are not requested."""
        return [chat_logprob(self.served.tokenizer, token) for token in tokens] if self.has_logprobs else []

    def text_part(self, text: str, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The content of a message."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs(tokens)}

    def item(self, part: Part, tokens: Sequence[TokenLogprob], status: str) -> dict[str, Any]:
        """A part of the answer as an item; `tokens` are for a message."""
        if isinstance(part, Thoughts):
            content = [thoughts_part(part.text)]
            return {
                "type": "reasoning",
                "id": self.stored.new_id("rs_"),
                "summary": [],
                "content": content,
                "status": status,
            }
        if isinstance(part, Words):
            content = [self.text_part(part.text, tokens)]
            return {
                "type": "message",
                "id": self.stored.new_id("msg_"),
                "status": status,
                "role": "assistant",
                "content": content,
            }
        named = {"call_id": new_id("call_"), **split_name(part.name, self.body.tools or []), "status": status}
        if part.is_custom:
            return {"type": "custom_tool_call", "id": self.stored.new_id("ctc_"), **named, "input": part.text}
        return {"type": "function_call", "id": self.stored.new_id("fc_"), **named, "arguments": part.text}

    def final_response(self, items: list[dict[str, Any]], reason: str, usage: dict[str, Any]) -> dict[str, Any]:
        """The response that has ended; it is stored, unless the request does not want that."""
        response = self.response_object(items, reason, usage)
        if response["store"]:
            self.stored.add(self.conversation, response)
        return response

    def response_object(
        self, items: list[dict[str, Any]], reason: str | None, usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The response with its output so far; while it has no reason to have ended, it is in progress."""
        body = self.body
        status = "in_progress" if reason is None else end_status(reason)
        sampling = self.served.sampling({"temperature": body.temperature, "top_p": body.top_p})
        choice = body.tool_choice
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": incomplete_reason(reason or "")} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "model": self.served.name,
            "output": items,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": self.reasoning.effort, "summary": None},
            "service_tier": "default",
            "store": body.store is not False and self.stored.max_bytes > 0,
            "temperature": sampling.temperature,
            "text": {"format": {"type": "text"}}
            if body.text is None
            else body.text.model_dump(by_alias=True, exclude_none=True),
            "tool_choice": choice.model_dump()
            if choice is not None and not isinstance(choice, str)
            else choice or "auto",
            "tools": [
                {**({"strict": None, "parameters": None} if tool.type == "function" else {}), **tool.model_dump()}
                for tool in body.tools or []
            ],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "truncation": body.truncation or "disabled",
            **({"omitted_messages": self.num_omitted_messages} if self.truncates else {}),
            "usage": None if usage is None else _response_usage(usage),
            "user": body.user,
            **({} if reason is None else self.document_fields()),
        }


def thoughts_part(text: str) -> dict[str, Any]:
    """The content of an item of reasoning."""
    return {"type": "reasoning_text", "text": text}


def _response_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """The usage of completions under the names of responses."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"], "cache_write_tokens": 0
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }  # fmt: skip
