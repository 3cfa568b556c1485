"""The input, tools and formats of a request for a response, in the form of chat completions."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.serve.errors import unsupported
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
    InputMedia,
    MessageItem,
    ResponsesCustomTool,
    ResponsesFunctionTool,
    ResponsesGrammarFormat,
    ResponsesJsonSchemaFormat,
    ResponsesRequest,
    ResponsesToolChoice,
)

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
    for number, item in enumerate(body.input):
        if isinstance(item, MessageItem):
            messages.append(_message(item, f"input.{number}"))
        elif isinstance(item, FunctionCallItem):
            function = CalledFunction(name=item.name, arguments=item.arguments)
            call = FunctionCall(id=item.call_id, type="function", function=function)
            messages.append(AssistantMessage(role="assistant", tool_calls=[call]))
        elif isinstance(item, CustomToolCallItem):
            custom = CustomCall(id=item.call_id, type="custom", custom=CalledCustom(name=item.name, input=item.input))
            messages.append(AssistantMessage(role="assistant", tool_calls=[custom]))
        else:
            messages.append(ToolMessage(role="tool", tool_call_id=item.call_id, content=item.output))
    return messages


def _message(item: MessageItem, place: str) -> ChatMessage:
    text = _text(item, place)
    if item.role == "user":
        return UserMessage(role="user", content=text)
    if item.role == "assistant":
        return AssistantMessage(role="assistant", content=text)
    return SystemMessage(role=item.role, content=text)


def _text(item: MessageItem, place: str) -> str:
    if isinstance(item.content, str):
        return item.content
    texts = []
    for number, part in enumerate(item.content):
        if isinstance(part, InputMedia):
            raise unsupported(f"{place}.content.{number}", f"{part.type} is no text, and models here read text only")
        texts.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    return "".join(texts)


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
