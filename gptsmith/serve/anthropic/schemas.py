"""The bodies of POST /v1/messages and /v1/messages/count_tokens. A field of type Any is a hint that changes no text, or
one that is refused with a reason (see `request_mapping`); an unknown field is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from gptsmith.serve.chat.schemas.common import (
    MAX_SEED,
    MAX_TOKEN_ID,
    Count,
    DocumentsField,
    Effort,
    Name,
    NonEmptyText,
    Schema,
)


class TextBlock(Schema):
    """Text of a message."""

    type: Literal["text"]
    text: str
    cache_control: Any = None
    citations: Any = None


class OtherBlock(BaseModel):
    """A block that is no text; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal[
        "image", "document", "search_result", "redacted_thinking", "server_tool_use", "web_search_tool_result",
        "web_fetch_tool_result", "code_execution_tool_result", "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result", "tool_search_tool_result", "mcp_tool_use", "mcp_tool_result",
        "container_upload", "tool_reference", "advisor_tool_result", "browser_state", "compaction", "tool_addition",
        "tool_removal", "mcp_tool_listing", "fallback",
    ]  # fmt: skip


class ThinkingBlock(Schema):
    """Thoughts of the model."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class ToolUseBlock(Schema):
    """A call of a tool by the model."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: Any = None
    caller: Any = None
    toolset_name: Any = None


class ToolResultBlock(Schema):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Annotated[TextBlock | OtherBlock, Field(discriminator="type")]] | None = None
    is_error: bool | None = None
    cache_control: Any = None
    toolset_name: Any = None


Block = Annotated[TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock | OtherBlock, Field(discriminator="type")]


class InputMessage(Schema):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]
    clear_at: Any = None
    output_config: Any = None


class ClientTool(Schema):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: Name
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    allowed_callers: list[str] | None = None
    cache_control: Any = None
    defer_loading: Any = None
    """Nothing here searches for tools: those that are deferred are described at once."""
    eager_input_streaming: Any = None


class HostedTool(BaseModel):
    """A tool of Anthropic's; it is known so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str


def _is_hosted(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "hosted" if isinstance(kind, str) and kind != "custom" else "client"


InputTool = Annotated[
    Annotated[ClientTool, Tag("client")] | Annotated[HostedTool, Tag("hosted")], Discriminator(_is_hosted)
]


class ToolChoice(Schema):
    """Which tools may be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Schema):
    """Whether the model is to think, and whether the answer has its thoughts. A budget is a hint: thoughts count for
    `max_tokens`."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted", "full"] | None = None
    block_binding: Any = None


class OutputFormat(Schema):
    """JSON of a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Schema):
    """How much the model is to think, and the form of its answer."""

    effort: Effort | None = None
    format: OutputFormat | None = None
    task_budget: Any = None


class Edit(BaseModel):
    """What is to be cleared from a long conversation. Nothing is, and the answer says so: models here read the whole
    conversation, or refuse it with its length."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str


class ContextManagement(Schema):
    """The edits that may be made to a conversation."""

    edits: list[Edit] | None = None


class PromptFields(DocumentsField):
    """The fields that make a prompt."""

    model: str | None = None
    """May be left out if one model is served."""
    messages: Annotated[list[InputMessage], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[InputTool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    context_management: ContextManagement | None = None
    cache_control: Any = None
    speed: Any = None
    billing_policy: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None
    compaction: Any = None
    mcp_servers: Any = None


class CountTokensRequest(PromptFields):
    """The body of POST /v1/messages/count_tokens."""


class MessagesRequest(PromptFields):
    """The body of POST /v1/messages."""

    max_tokens: Count
    stop_sequences: Annotated[list[NonEmptyText], Field(max_length=16)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED, lt=MAX_SEED)] | None = None
    """Not of Anthropic's."""
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    diagnostics: Any = None
    inference_geo: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    container: Any = None
    thread: Any = None
