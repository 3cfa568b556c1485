"""The schema of POST /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gptsmith.serve.openai.schemas.chat import FunctionDefinition
from gptsmith.serve.openai.schemas.common import (
    MAX_TOKEN_ID,
    ConversationFields,
    Count,
    Effort,
    Grammar,
    JsonObjectFormat,
    Name,
    NonEmptyText,
    RefusalPart,
    Schema,
    TextFormat,
    Verbosity,
)


class InputText(Schema):
    """A part of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputMedia(BaseModel):
    """A part that is no text; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["input_image", "input_file", "input_audio"]


class MessageItem(Schema):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: (
        str
        | Annotated[
            list[Annotated[InputText | InputMedia | RefusalPart, Field(discriminator="type")]], Field(min_length=1)
        ]
    )
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: str | None = None


class FunctionCallItem(Schema):
    """A call of a function by the model."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCallOutputItem(Schema):
    """The output of a function."""

    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class CustomToolCallItem(Schema):
    """A call of a custom tool by the model."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class CustomToolCallOutputItem(Schema):
    """The output of a custom tool."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: str
    id: str | None = None


class ResponsesFunctionTool(FunctionDefinition):
    """A function that the model may call."""

    type: Literal["function"]


class ResponsesGrammarFormat(Grammar):
    """Text of a grammar."""

    type: Literal["grammar"]


class ResponsesCustomTool(Schema):
    """A tool whose input is text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[TextFormat | ResponsesGrammarFormat, Field(discriminator="type")] | None = None


class HostedTool(BaseModel):
    """A tool that runs at OpenAI's; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal[
        "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp",
        "computer", "computer_use_preview", "local_shell", "shell", "apply_patch",
    ]  # fmt: skip


class ResponsesToolChoice(Schema):
    """The tool that must be called."""

    type: Literal["function", "custom"]
    name: str


class ResponsesJsonSchemaFormat(Schema):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Schema):
    """The form of the text."""

    format: Annotated[TextFormat | JsonObjectFormat | ResponsesJsonSchemaFormat, Field(discriminator="type")] | None = (
        None
    )
    verbosity: Verbosity | None = None


class Reasoning(Schema):
    """How much reasoning precedes an answer."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Schema):
    """What a stream contains besides the text."""

    include_obfuscation: bool | None = None


class ResponsesRequest(ConversationFields):
    """The body of POST /v1/responses."""

    input: (
        NonEmptyText
        | Annotated[
            list[
                MessageItem | FunctionCallItem | FunctionCallOutputItem | CustomToolCallItem | CustomToolCallOutputItem
            ],
            Field(min_length=1),
        ]
    )
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKEN_ID)] | None = None
    text: TextConfig | None = None
    tools: (
        Annotated[
            list[Annotated[ResponsesFunctionTool | ResponsesCustomTool | HostedTool, Field(discriminator="type")]],
            Field(max_length=128),
        ]
        | None
    ) = None
    tool_choice: Literal["none", "auto", "required"] | ResponsesToolChoice | None = None
    stream_options: ResponseStreamOptions | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    max_tool_calls: Count | None = None
