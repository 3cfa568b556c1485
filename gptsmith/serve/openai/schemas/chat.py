"""The schema of POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gptsmith.serve.chat.schemas.chat import ChatRequest, FunctionDefinition, TextContent, ToolName
from gptsmith.serve.chat.schemas.common import MAX_TOKEN_ID, Schema
from gptsmith.serve.openai.schemas.common import ConversationFields


class PredictedContent(Schema):
    """The expected answer, which may make the answer faster, never different."""

    type: Literal["content"]
    content: TextContent


class ChatCompletionRequest(ChatRequest, ConversationFields):
    """The body of POST /v1/chat/completions."""

    max_completion_tokens: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    functions: Annotated[list[FunctionDefinition], Field(max_length=128)] | None = None
    function_call: Literal["none", "auto"] | ToolName | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: dict[str, Any] | None = None
    prediction: PredictedContent | None = None
    web_search_options: dict[str, Any] | None = None
