"""From a request in Anthropic's form to the common one."""

from __future__ import annotations

from typing import Any

from gptsmith.base.json_text import json_text
from gptsmith.serve.anthropic.schemas import (
    HostedTool,
    InputMessage,
    MessagesRequest,
    OtherBlock,
    PromptFields,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from gptsmith.serve.chat.schemas.chat import (
    AssistantMessage,
    CalledFunction,
    ChatMessage,
    ChatRequest,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    FunctionTool,
    JsonSchema,
    JsonSchemaFormat,
    SystemMessage,
    ToolMessage,
    ToolName,
    UserMessage,
)
from gptsmith.serve.chat.schemas.chat import ToolChoice as ChatToolChoice
from gptsmith.serve.errors import refused, unsupported

CHOICES: dict[str, ChatToolChoice] = {"auto": "auto", "any": "required", "none": "none"}
UNSUPPORTED = {
    "compaction": "conversations are not summarized here: leave it out, and send what is to be read",
    "mcp_servers": "nothing here connects to other servers: run the tools yourself, and describe them by input_schema",
    "container": "nothing is run here: leave it out",
    "thread": "no conversations are stored here: send all messages",
}
ERROR_PREFIX = "Error: "
"""Before the result of a call that failed."""


def chat_request(body: PromptFields) -> ChatRequest:
    """The request in the common form that means the same.

    Raises:
        ApiError: a block is no text, a tool runs at Anthropic's, or parts do not go together; the place is named.
    """
    for name, reason in UNSUPPORTED.items():
        if getattr(body, name, None):
            raise unsupported(name, reason)
    messages: list[ChatMessage] = []
    if body.system:
        messages.append(SystemMessage(role="system", content=_text(body.system, "system")))
    call_ids: set[str] = set()
    for number, message in enumerate(body.messages):
        messages += _messages(message, f"messages.{number}.content", call_ids)
    fields: dict[str, Any] = {"model": body.model, "messages": messages, "tools": _tools(body) or None}
    fields["documents"] = body.documents
    choice = body.tool_choice
    if choice is not None:
        if choice.type == "tool" and choice.name is None:
            raise refused("tool_choice.name", "name the tool that is to be called")
        if choice.type == "tool":
            fields["tool_choice"] = FunctionChoice(type="function", function=ToolName(name=choice.name or ""))
        else:
            fields["tool_choice"] = CHOICES[choice.type]
        fields["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    if isinstance(messages[-1], AssistantMessage):
        if messages[-1].tool_calls:
            raise refused("messages", "the last message calls tools: send their results")
        if fields["tools"]:
            raise refused("messages", "the assistant's message at the end is continued only without tools")
        fields["continue_final_message"] = True
    if body.thinking is not None:
        fields["enable_thinking"] = body.thinking.type != "disabled"
    if body.output_config is not None:
        fields["reasoning_effort"] = body.output_config.effort
    if body.output_config is not None and body.output_config.format is not None:
        schema = JsonSchema.model_validate({"name": "output", "schema": body.output_config.format.schema_})
        fields["response_format"] = JsonSchemaFormat(type="json_schema", json_schema=schema)
    if isinstance(body, MessagesRequest):
        names = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stream")
        fields |= {name: getattr(body, name) for name in names} | {"stop": body.stop_sequences}
    return ChatRequest(**fields)


def _messages(message: InputMessage, place: str, call_ids: set[str]) -> list[ChatMessage]:
    """A message as one or several: results of calls are messages of their own."""
    for name in ("clear_at", "output_config"):
        if getattr(message, name) is not None:
            raise unsupported(f"{place.removesuffix('content')}{name}", "a message here is its content and its role")
    if message.role == "system":
        return [SystemMessage(role="system", content=_text(message.content, place))]
    if message.role == "assistant":
        return [_answer(message, place, call_ids)]
    if isinstance(message.content, str):
        return [UserMessage(role="user", content=message.content)]
    found: list[ChatMessage] = []
    for number, block in enumerate(message.content):
        here = f"{place}.{number}"
        if isinstance(block, ToolResultBlock):
            if block.tool_use_id not in call_ids:
                raise refused(f"{here}.tool_use_id", "no call before it has this id")
            text = _text(block.content or "", f"{here}.content")
            prefix = ERROR_PREFIX if block.is_error else ""
            found.append(ToolMessage(role="tool", tool_call_id=block.tool_use_id, content=prefix + text))
            continue
        text = _text([block], place, number)
        last = found[-1] if found else None
        if isinstance(last, UserMessage):
            found[-1] = UserMessage(role="user", content=f"{last.content}{text}")
        else:
            found.append(UserMessage(role="user", content=text))
    return found or [UserMessage(role="user", content="")]


def _answer(message: InputMessage, place: str, call_ids: set[str]) -> AssistantMessage:
    if isinstance(message.content, str):
        return AssistantMessage(role="assistant", content=message.content)
    words, thoughts, calls = "", "", []
    for number, block in enumerate(message.content):
        if isinstance(block, ThinkingBlock):
            thoughts += block.thinking
        elif isinstance(block, ToolUseBlock):
            call_ids.add(block.id)
            function = CalledFunction(name=block.name, arguments=json_text(block.input))
            calls.append(FunctionCall(id=block.id, type="function", function=function))
        else:
            words += _text([block], place, number)
    return AssistantMessage(
        role="assistant", content=words, reasoning_content=thoughts or None, tool_calls=[*calls] or None
    )


def _text(content: Any, place: str, first: int = 0) -> str:
    """The text of blocks, the first of which has the number `first`."""
    if isinstance(content, str):
        return content
    for number, block in enumerate(content, first):
        if isinstance(block, OtherBlock):
            raise unsupported(f"{place}.{number}", f"{block.type} is no text, and models here read text only")
        if not isinstance(block, TextBlock):
            raise refused(f"{place}.{number}", f"{block.type} does not stand in a message of this role")
    return "".join(block.text for block in content)


def _tools(body: PromptFields) -> list[FunctionTool]:
    tools = []
    for number, tool in enumerate(body.tools or ()):
        if isinstance(tool, HostedTool):
            raise unsupported(
                f"tools.{number}", f"{tool.type} is Anthropic's own: describe a tool that does the same by input_schema"
            )
        if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
            raise unsupported(f"tools.{number}.allowed_callers", "no code is run here that could call it: add direct")
        examples = {"examples": tool.input_examples} if tool.input_examples else {}
        function = FunctionDefinition(
            name=tool.name,
            description=tool.description,
            parameters={**tool.input_schema, **examples},
            strict=tool.strict,
        )
        tools.append(FunctionTool(type="function", function=function))
    return tools
