"""The schema of POST /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, Tag

from gptsmith.serve.chat.schemas.chat import FunctionDefinition
from gptsmith.serve.chat.schemas.common import (
    MAX_TOKEN_ID,
    Count,
    DocumentsField,
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
from gptsmith.serve.chat.schemas.other_servers import HintFields, ThinkingFields
from gptsmith.serve.openai.schemas.common import ConversationFields


class InputText(Schema):
    """A part of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    """The text again, as OpenAI's client read it."""
    cache_control: Any = None


class InputMedia(BaseModel):
    """A part that is no text; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["input_image", "input_file", "input_audio"]


InputContent = str | list[Annotated[InputText | InputMedia | RefusalPart, Field(discriminator="type")]]


class ItemFields(Schema):
    """The fields that every item may have, and no model reads."""

    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    caller: dict[str, Any] | None = None
    async_: Annotated[bool | None, Field(validation_alias=AliasChoices("async", "async_"))] = None
    created_by: str | None = None


class MessageItem(ItemFields):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: InputContent
    phase: str | None = None


class ReasoningText(Schema):
    """A part of a model's thoughts."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class ReasoningItem(ItemFields):
    """The thoughts of the model before an answer."""

    type: Literal["reasoning"]
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class ItemReference(Schema):
    """An item of an earlier request or answer, which this server keeps."""

    type: Literal["item_reference"] | None = None
    id: str


class FunctionCallItem(ItemFields):
    """A call of a function by the model."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    parsed_arguments: Any = None
    """The arguments again, as OpenAI's client read them."""
    namespace: str | None = None


class FunctionCallOutputItem(ItemFields):
    """The output of a function."""

    type: Literal["function_call_output"]
    call_id: str
    output: InputContent
    name: str | None = None
    namespace: str | None = None


class CustomToolCallItem(ItemFields):
    """A call of a custom tool by the model."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class CustomToolCallOutputItem(ItemFields):
    """The output of a custom tool."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: InputContent


def item_type(item: Any) -> str:
    """The type of an item of the input; of one that does not say it, by its fields."""
    given = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    if given is not None:
        return str(given)
    has_role = "role" in item if isinstance(item, dict) else hasattr(item, "role")
    return "message" if has_role else "item_reference"


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[CustomToolCallItem, Tag("custom_tool_call")]
    | Annotated[CustomToolCallOutputItem, Tag("custom_tool_call_output")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(item_type),
]


class ToolHints(Schema):
    """What OpenAI's own machines read about a tool, and no model."""

    allowed_callers: Any = None
    async_: Annotated[bool | None, Field(validation_alias=AliasChoices("async", "async_"))] = None
    defer_loading: Any = None
    output_schema: Any = None


class ResponsesFunctionTool(FunctionDefinition, ToolHints):
    """A function that the model may call."""

    type: Literal["function"]


class ResponsesGrammarFormat(Grammar):
    """Text of a grammar."""

    type: Literal["grammar"]


class ResponsesCustomTool(ToolHints):
    """A tool whose input is text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[TextFormat | ResponsesGrammarFormat, Field(discriminator="type")] | None = None


class NamespaceTool(Schema):
    """Tools under one name, which comes back in a field of their calls."""

    type: Literal["namespace"]
    name: Name
    description: str | None = None
    tools: list[Annotated[ResponsesFunctionTool | ResponsesCustomTool, Field(discriminator="type")]]


class HostedTool(BaseModel):
    """A tool that runs at OpenAI's: the model is not told of it."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal[
        "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp",
        "computer", "computer_use_preview", "local_shell", "shell", "apply_patch", "tool_search",
        "programmatic_tool_calling",
    ]  # fmt: skip


class ResponsesToolChoice(Schema):
    """The tool that must be called."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class HostedChoice(BaseModel):
    """A tool that runs at OpenAI's and must be called; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["file_search", "web_search_preview", "web_search", "image_generation", "code_interpreter", "mcp"]


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


class ResponsesRequest(ConversationFields, ThinkingFields, HintFields, DocumentsField):
    """The body of POST /v1/responses."""

    input: NonEmptyText | Annotated[list[InputItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    text: TextConfig | None = None
    tools: (
        Annotated[
            list[
                Annotated[
                    ResponsesFunctionTool | ResponsesCustomTool | NamespaceTool | HostedTool,
                    Field(discriminator="type"),
                ]
            ],
            Field(max_length=128),
        ]
        | None
    ) = None
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[ResponsesToolChoice | HostedChoice, Field(discriminator="type")]
        | None
    ) = None
    stream_options: ResponseStreamOptions | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    max_tool_calls: Count | None = None
