"""The schema of a conversation to be answered: messages, tools and response formats."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gptsmith.serve.chat.schemas.common import (
    DocumentsField,
    Effort,
    Grammar,
    JsonObjectFormat,
    Name,
    NonEmptyText,
    RefusalPart,
    SamplingFields,
    Schema,
    TextFormat,
    TextPart,
    Verbosity,
)
from gptsmith.serve.chat.schemas.other_servers import ChatReasoning, HintFields, ThinkingFields


class MediaPart(BaseModel):
    """A part that is no text; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["image_url", "input_audio", "file", "input_image", "input_file"]


TextContent = str | list[TextPart]
Part = Annotated[TextPart | MediaPart, Field(discriminator="type")]
AnswerPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class MessageFields(Schema):
    """The fields that every message may have. All but the name are notes of clients, which no model reads."""

    name: str | None = None
    id: str | None = None
    metadata: dict[str, Any] | None = None
    timestamp: Any = None
    cache_control: Any = None


class SystemMessage(MessageFields):
    """Instructions before the conversation."""

    role: Literal["system", "developer"]
    content: TextContent


class UserMessage(MessageFields):
    """A message of the user."""

    role: Literal["user"]
    content: str | list[Part]


class CalledFunction(Schema):
    """A function and its arguments, as the model generated them."""

    name: str
    arguments: str
    parsed_arguments: Any = None
    """The arguments again, as OpenAI's client read them."""


class CallFields(Schema):
    """The fields that every call may have."""

    id: str
    index: int | None = None
    """The place among the calls, which a stream says."""


class FunctionCall(CallFields):
    """A call of a function by the model."""

    type: Literal["function"]
    function: CalledFunction


class CalledCustom(Schema):
    """A custom tool and its input."""

    name: str
    input: str


class CustomCall(CallFields):
    """A call of a custom tool by the model."""

    type: Literal["custom"]
    custom: CalledCustom


Call = Annotated[FunctionCall | CustomCall, Field(discriminator="type")]


class AssistantMessage(MessageFields):
    """A message of the model: all that an answer may hold, and that OpenAI's client makes of it."""

    role: Literal["assistant"]
    content: str | list[AnswerPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """Another name of `reasoning_content`, in vLLM's answers."""
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: CalledFunction | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None
    parsed: Any = None
    """The content again, as OpenAI's client read it."""
    provider_specific_fields: dict[str, Any] | None = None
    """LiteLLM's notes."""


class ToolMessage(MessageFields):
    """The output of a tool."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: str


class FunctionMessage(MessageFields):
    """The output of a function, in the form before there were tools."""

    role: Literal["function"]
    content: str | None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]


class FunctionDefinition(Schema):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Schema):
    """A function as a tool."""

    type: Literal["function"]
    function: FunctionDefinition


class GrammarFormat(Schema):
    """Text of a grammar."""

    type: Literal["grammar"]
    grammar: Grammar


class CustomToolDefinition(Schema):
    """A tool whose input is text."""

    name: Name
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(Schema):
    """A custom tool as a tool."""

    type: Literal["custom"]
    custom: CustomToolDefinition


Tool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


class ToolName(Schema):
    """The name of a tool."""

    name: str


class FunctionChoice(Schema):
    """The function that must be called."""

    type: Literal["function"]
    function: ToolName


class CustomChoice(Schema):
    """The custom tool that must be called."""

    type: Literal["custom"]
    custom: ToolName


class AllowedTools(Schema):
    """Which of the tools may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Annotated[FunctionChoice | CustomChoice, Field(discriminator="type")]], Field(min_length=1)]


class AllowedChoice(Schema):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedChoice, Field(discriminator="type")]
)


class JsonSchema(Schema):
    """A schema with its name."""

    name: Name
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(Schema):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(Schema):
    """Text that a regular expression matches. Not of OpenAI's."""

    type: Literal["regex"]
    regex: NonEmptyText


class LarkFormat(Schema):
    """Text of a grammar in Lark's form. Not of OpenAI's."""

    type: Literal["grammar"]
    grammar: NonEmptyText


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat | LarkFormat, Field(discriminator="type")
]


class ChatRequest(SamplingFields, ThinkingFields, HintFields, DocumentsField):
    """A conversation to be answered, in the form that those of all APIs are brought into."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    continue_final_message: bool | None = None
    reasoning_effort: Effort | None = None
    reasoning: ChatReasoning | None = None
    verbosity: Verbosity | None = None
