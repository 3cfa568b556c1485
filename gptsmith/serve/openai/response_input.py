"""The input, tools and formats of a request for a response, in the form of chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptsmith.serve.chat.schemas.chat import (
    AssistantMessage,
    CalledCustom,
    CalledFunction,
    ChatMessage,
    CustomCall,
    CustomChoice,
    CustomTool,
    CustomToolDefinition,
    FunctionCall,
    FunctionChoice,
    FunctionDefinition,
    FunctionTool,
    GrammarFormat,
    JsonSchema,
    JsonSchemaFormat,
    ResponseFormat,
    SystemMessage,
    Tool,
    ToolChoice,
    ToolMessage,
    ToolName,
    UserMessage,
)
from gptsmith.serve.chat.schemas.common import Grammar, JsonObjectFormat, RefusalPart, TextFormat
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.openai.schemas.responses import (
    CustomToolCallItem,
    FunctionCallItem,
    HostedChoice,
    HostedTool,
    InputContent,
    InputMedia,
    MessageItem,
    NamespaceTool,
    ReasoningItem,
    ResponsesCustomTool,
    ResponsesFunctionTool,
    ResponsesGrammarFormat,
    ResponsesJsonSchemaFormat,
    ResponsesToolChoice,
)

NO_HOSTED = "{} runs on OpenAI's own machines: describe a function that does the same, and answer its calls yourself"

NAMESPACE_END = "__"
"""What stands between a namespace and the name of its tool."""
ResponsesTool = ResponsesFunctionTool | ResponsesCustomTool | NamespaceTool | HostedTool


def chat_messages(instructions: str | None, items: Sequence[Any]) -> list[ChatMessage]:
    """The instructions and the items of a conversation, as messages.

    Raises:
        ApiError: a part of a message is no text.
    """
    messages: list[ChatMessage] = []
    if instructions:
        messages.append(SystemMessage(role="system", content=instructions))
    call_ids: set[str] = set()
    for number, item in enumerate(items):
        place = f"input.{number}"
        if isinstance(item, MessageItem):
            _append(messages, _message(item, place))
        elif isinstance(item, ReasoningItem):
            messages.append(AssistantMessage(role="assistant", reasoning_content=_thoughts(item)))
        elif isinstance(item, FunctionCallItem | CustomToolCallItem):
            call_ids.add(item.call_id)
            _append(messages, AssistantMessage(role="assistant", tool_calls=[_call(item)]))
        else:
            if item.call_id not in call_ids:
                raise refused(f"{place}.call_id", "no call before it has this id")
            output = _text(item.output, f"{place}.output")
            messages.append(ToolMessage(role="tool", tool_call_id=item.call_id, content=output))
    return messages


def _append(messages: list[ChatMessage], message: ChatMessage) -> None:
    """Appends a message; thoughts, a text and calls of the assistant that follow each other are one message."""
    last = messages[-1] if messages else None
    if isinstance(last, AssistantMessage) and isinstance(message, AssistantMessage):
        if message.tool_calls:
            messages[-1] = last.model_copy(update={"tool_calls": [*(last.tool_calls or ()), *message.tool_calls]})
            return
        if last.content is None and not last.tool_calls:
            messages[-1] = last.model_copy(update={"content": message.content})
            return
    messages.append(message)


def _call(item: FunctionCallItem | CustomToolCallItem) -> FunctionCall | CustomCall:
    name = joined_name(item.name, item.namespace)
    if isinstance(item, CustomToolCallItem):
        return CustomCall(id=item.call_id, type="custom", custom=CalledCustom(name=name, input=item.input))
    function = CalledFunction(name=name, arguments=item.arguments)
    return FunctionCall(id=item.call_id, type="function", function=function)


def _message(item: MessageItem, place: str) -> ChatMessage:
    text = _text(item.content, f"{place}.content")
    if item.role == "user":
        return UserMessage(role="user", content=text)
    if item.role == "assistant":
        return AssistantMessage(role="assistant", content=text)
    return SystemMessage(role=item.role, content=text)


def _text(content: InputContent, place: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(content):
        if isinstance(part, InputMedia):
            raise unsupported(f"{place}.{number}", f"{part.type} is no text, and models here read text only")
        texts.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    return "".join(texts)


def _thoughts(item: ReasoningItem) -> str:
    return "".join(part.text for part in item.content or item.summary or ())


def chat_tools(tools: Sequence[ResponsesTool]) -> list[Tool]:
    """The tools that the model may call; those that run at OpenAI's are left out."""
    found: list[Tool] = []
    for tool in tools:
        if isinstance(tool, NamespaceTool):
            found += [_chat_tool(one, tool.name) for one in tool.tools]
        elif not isinstance(tool, HostedTool):
            found.append(_chat_tool(tool, None))
    return found


def _chat_tool(tool: ResponsesFunctionTool | ResponsesCustomTool, namespace: str | None) -> Tool:
    name = joined_name(tool.name, namespace)
    if isinstance(tool, ResponsesFunctionTool):
        # The name of a tool is checked already, and with its namespace it may be longer than names are.
        definition = FunctionDefinition.model_construct(
            name=name, description=tool.description, parameters=tool.parameters, strict=tool.strict
        )
        return FunctionTool(type="function", function=definition)
    form: TextFormat | GrammarFormat | None = None
    if isinstance(tool.format, ResponsesGrammarFormat):
        grammar = Grammar(syntax=tool.format.syntax, definition=tool.format.definition)
        form = GrammarFormat(type="grammar", grammar=grammar)
    else:
        form = tool.format
    custom = CustomToolDefinition.model_construct(name=name, description=tool.description, format=form)
    return CustomTool(type="custom", custom=custom)


def joined_name(name: str, namespace: str | None) -> str:
    """The name of a tool as the model knows it."""
    return name if namespace is None else f"{namespace}{NAMESPACE_END}{name}"


def split_name(name: str, tools: Sequence[ResponsesTool]) -> dict[str, str]:
    """The fields of a call that name its tool."""
    for tool in tools:
        if isinstance(tool, NamespaceTool):
            for one in tool.tools:
                if joined_name(one.name, tool.name) == name:
                    return {"name": one.name, "namespace": tool.name}
    return {"name": name}


def chat_tool_choice(choice: str | ResponsesToolChoice | HostedChoice | None) -> ToolChoice | None:
    """The tool that must be called, or whether one may or must be.

    Raises:
        ApiError: it runs at OpenAI's.
    """
    if isinstance(choice, HostedChoice):
        raise unsupported("tool_choice", NO_HOSTED.format(choice.type))
    if not isinstance(choice, ResponsesToolChoice):
        return choice  # type: ignore[return-value]
    name = ToolName(name=joined_name(choice.name, choice.namespace))
    if choice.type == "function":
        return FunctionChoice(type="function", function=name)
    return CustomChoice(type="custom", custom=name)


def chat_response_format(
    form: TextFormat | JsonObjectFormat | ResponsesJsonSchemaFormat | None,
) -> ResponseFormat | None:
    """The format of the text."""
    if not isinstance(form, ResponsesJsonSchemaFormat):
        return form
    schema = JsonSchema.model_validate(form.model_dump(by_alias=True, exclude={"type"}))
    return JsonSchemaFormat(type="json_schema", json_schema=schema)
