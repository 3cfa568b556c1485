"""The input, tools and formats of a request for a response, in the form of chat completions."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.openai.schemas.chat import (
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
from gptsmith.serve.openai.schemas.common import Grammar, JsonObjectFormat, RefusalPart, TextFormat
from gptsmith.serve.openai.schemas.responses import (
    CustomToolCallItem,
    FunctionCallItem,
    HostedTool,
    InputContent,
    InputMedia,
    ItemReference,
    MessageItem,
    ReasoningItem,
    ResponsesCustomTool,
    ResponsesFunctionTool,
    ResponsesGrammarFormat,
    ResponsesJsonSchemaFormat,
    ResponsesRequest,
    ResponsesToolChoice,
)

NO_ITEMS = "nothing is stored here: send the item itself (clients that ask for it: store: false)"
NO_HOSTED = "{} runs on OpenAI's own machines: describe a function that does the same, and answer its calls yourself"


def chat_messages(body: ResponsesRequest) -> list[ChatMessage]:
    """The instructions and the items of the input, as messages.

    Raises:
        ApiError: a part of a message is no text.
    """
    messages: list[ChatMessage] = []
    if body.instructions:
        messages.append(SystemMessage(role="system", content=body.instructions))
    if isinstance(body.input, str):
        return [*messages, UserMessage(role="user", content=body.input)]
    call_ids: set[str] = set()
    for number, item in enumerate(body.input):
        place = f"input.{number}"
        if isinstance(item, MessageItem):
            _append(messages, _message(item, place))
        elif isinstance(item, ReasoningItem):
            messages.append(AssistantMessage(role="assistant", reasoning_content=_thoughts(item)))
        elif isinstance(item, FunctionCallItem | CustomToolCallItem):
            call_ids.add(item.call_id)
            _append(messages, AssistantMessage(role="assistant", tool_calls=[_call(item)]))
        elif isinstance(item, ItemReference):
            raise unsupported(place, NO_ITEMS)
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
    if isinstance(item, CustomToolCallItem):
        return CustomCall(id=item.call_id, type="custom", custom=CalledCustom(name=item.name, input=item.input))
    function = CalledFunction(name=item.name, arguments=item.arguments)
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


def chat_tools(tools: Sequence[ResponsesFunctionTool | ResponsesCustomTool | HostedTool]) -> list[Tool]:
    """The tools that the model may call.

    Raises:
        ApiError: one of them runs at OpenAI's.
    """
    found: list[Tool] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, HostedTool):
            raise unsupported(f"tools.{number}", NO_HOSTED.format(tool.type))
        if isinstance(tool, ResponsesFunctionTool):
            definition = FunctionDefinition.model_validate(tool.model_dump(exclude={"type"}))
            found.append(FunctionTool(type="function", function=definition))
        else:
            form = tool.format
            if isinstance(form, ResponsesGrammarFormat):
                grammar = Grammar(syntax=form.syntax, definition=form.definition)
                custom = CustomToolDefinition(
                    name=tool.name,
                    description=tool.description,
                    format=GrammarFormat(type="grammar", grammar=grammar),
                )
            else:
                custom = CustomToolDefinition(name=tool.name, description=tool.description, format=form)
            found.append(CustomTool(type="custom", custom=custom))
    return found


def chat_tool_choice(choice: str | ResponsesToolChoice | None) -> ToolChoice | None:
    """The tool that must be called, or whether one may or must be."""
    if not isinstance(choice, ResponsesToolChoice):
        return choice  # type: ignore[return-value]
    name = ToolName(name=choice.name)
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
