"""POST /v1/messages and /v1/messages/count_tokens: answers to conversations in Anthropic's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.base.json_reader import parse_json
from gptsmith.generate.request import Request
from gptsmith.serve.anthropic.events import MessageEvents, message_usage, stop_fields
from gptsmith.serve.anthropic.request_mapping import chat_request
from gptsmith.serve.anthropic.schemas import CountTokensRequest, MessagesRequest, PromptFields
from gptsmith.serve.chat.answer import Part, Thoughts, Words
from gptsmith.serve.chat.chat_job import ChatRequestJob
from gptsmith.serve.chat.generation import ChunkEvents, generate_response
from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.chat.tools import ToolCall, request_toolset
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State


async def messages(state: State, body: MessagesRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation.

    Raises:
        ApiError: it cannot be given.
    """
    return await generate_response(state, MessagesJob(body, await state.models.writer(body.model)), log_fields)


async def count_tokens(state: State, body: CountTokensRequest, log_fields: dict[str, Any]) -> Response:
    """The number of tokens of a conversation, also of one that is longer than the context.

    Raises:
        ApiError: the conversation cannot be read.
    """
    served = await state.models.writer(body.model)
    job = MessagesJob(body, served)
    with served.reserved(1):
        prompt = await state.models.workers.run_on_reader(lambda: job.prompt(must_fit=False))
    log_fields |= {"model": served.name, "prompt_tokens": len(prompt.token_ids)}
    return JSONResponse({"input_tokens": len(prompt.token_ids)})


class MessagesJob(ChatRequestJob):
    """A request for a message.

    Attributes:
        num_prompt_tokens: known once there are requests of the engine.
    """

    format_field = "output_config.format"

    def __init__(self, body: PromptFields, served: ServedModel) -> None:
        """
        Raises:
            ApiError: the model was not tuned on conversations, or fields are not allowed.
        """
        served.template()
        chat = chat_request(body)
        super().__init__(chat, served, request_toolset(chat))
        self.id = new_id("msg_")
        self.shows_thoughts = body.thinking is None or body.thinking.display != "omitted"
        self.edits_context = body.context_management is not None
        self.num_prompt_tokens = 0

    def requests(self) -> list[Request]:
        found = super().requests()
        self.num_prompt_tokens = len(found[0].prompt_ids)
        return found

    def head(self) -> dict[str, Any]:
        """The fields of a message before its content is known."""
        head = {"id": self.id, "type": "message", "role": "assistant", "model": self.served.name, "content": []}
        edits: dict[str, Any] = {"context_management": {"applied_edits": []}} if self.edits_context else {}
        return {**head, "stop_reason": None, "stop_sequence": None, **edits}

    def response(self, outputs: Sequence[SequenceOutput], usage: dict[str, Any]) -> dict[str, Any]:
        (output,) = outputs
        parts = self.parts(output)
        has_calls = any(isinstance(part, ToolCall) for part in parts)
        return {
            **self.head(),
            "content": [whole_block(part) for part in parts if self.shows_thoughts or not isinstance(part, Thoughts)],
            **stop_fields(output.finish_reason, output.stop_string, has_calls),
            "usage": message_usage(usage),
            **self.document_fields(),
        }

    def chunk_events(self) -> ChunkEvents:
        return MessageEvents(
            self.head(), self.num_prompt_tokens, self.parser(), self.document_fields(),
            shows_thoughts=self.shows_thoughts,
        )  # fmt: skip


def whole_block(part: Part) -> dict[str, Any]:
    """A part of an answer as a block; arguments that were cut off so that they are no JSON are left out."""
    if isinstance(part, Thoughts):
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    if isinstance(part, Words):
        return {"type": "text", "text": part.text, "citations": None}
    try:
        given = parse_json(part.text)
    except ValueError:
        given = {}
    block = {"type": "tool_use", "id": new_id("toolu_"), "name": part.name}
    return {**block, "input": given if isinstance(given, dict) else {}}
