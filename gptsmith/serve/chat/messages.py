"""Messages of a conversation, as clients send them and as chat templates take them, and the prompt made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.json_reader import parse_json
from gptsmith.serve.chat.schemas.chat import (
    AssistantMessage,
    ChatMessage,
    FunctionMessage,
    MediaPart,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from gptsmith.serve.chat.schemas.common import RefusalPart
from gptsmith.serve.errors import api_error, refused, unsupported
from gptsmith.serve.served_model import ServedModel
from gptsmith.text.call_forms import CallForm
from gptsmith.text.chat_template import ChatTemplate, Tool
from gptsmith.text.context import FittedPrompt, fit_messages, max_prompt_tokens
from gptsmith.text.thoughts import divided_thoughts
from gptsmith.text.tokenizer import TooManyTokensError
from gptsmith.text.tool_calls import render_call

FlatMessage = dict[str, Any]
"""A role and a text; of the assistant's also thoughts and calls."""


def takes_calls(template: ChatTemplate, messages: Sequence[ChatMessage]) -> bool:
    """Whether a template writes the calls in some messages as the model is to write them: it knows them, and they are
    in the form that is read here. Otherwise they are text."""
    custom = any(
        call.type == "custom"
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls or []
    )
    return (template.tags_calls or template.call_form is not None) and not custom


def with_call_ids(messages: Sequence[ChatMessage], form: CallForm) -> list[ChatMessage]:
    """Messages whose calls have ids as templates of a form take them."""
    found: list[ChatMessage] = []
    for message in messages:
        if isinstance(message, AssistantMessage) and message.tool_calls:
            calls = [call.model_copy(update={"id": form.call_id(call.id)}) for call in message.tool_calls]
            message = message.model_copy(update={"tool_calls": calls})
        elif isinstance(message, ToolMessage):
            message = message.model_copy(update={"tool_call_id": form.call_id(message.tool_call_id)})
        found.append(message)
    return found


def flatten_messages(
    messages: Sequence[ChatMessage], instructions: Sequence[str] = (), *, with_calls: bool = False
) -> list[FlatMessage]:
    """Messages of a role and a text each, as templates take them. Calls are apart `with_calls`, else the text that the
    model generated; all system messages at the beginning and `instructions` become one.

    Raises:
        ApiError: a message is not allowed; it is named.
    """
    system: list[str] = []
    flat: list[FlatMessage] = []
    call_ids: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if isinstance(message, SystemMessage):
            text = _text(message.content, place, message.name)
            if flat:
                flat.append({"role": "system", "content": text})
            else:
                system.append(text)
        elif isinstance(message, UserMessage):
            flat.append({"role": "user", "content": _text(message.content, place, message.name)})
        elif isinstance(message, AssistantMessage):
            call_ids |= {call.id for call in message.tool_calls or []}
            flat.append(_answer(message, place, with_calls))
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in call_ids:
                raise refused(f"{place}.tool_call_id", "no call before it has this id")
            named = {"tool_call_id": message.tool_call_id} if with_calls else {}
            flat.append({"role": "tool", "content": _text(message.content, place), **named})
        else:
            assert isinstance(message, FunctionMessage)
            flat.append({"role": "tool", "content": message.content or ""})
    system += instructions
    return [{"role": "system", "content": "\n\n".join(system)}, *flat] if system else flat


def _answer(message: AssistantMessage, place: str, with_calls: bool) -> FlatMessage:
    """A message of the assistant, its calls apart or as a part of its text."""
    if message.audio is not None:
        raise unsupported(f"{place}.audio", "models here read and write text only")
    parts = [] if message.content is None else [_text(message.content, place, message.name)]
    if message.refusal:
        parts.append(message.refusal)
    calls = []
    for call in message.tool_calls or []:
        if call.type == "custom":
            parts.append(render_call(call.custom.name, call.custom.input, is_custom=True))
        else:
            calls.append((call.id, call.function.name, call.function.arguments))
    if message.function_call is not None:
        calls.append(("", message.function_call.name, message.function_call.arguments))
    if not with_calls:
        parts += [render_call(name, arguments) for _, name, arguments in calls]
    flat: FlatMessage = {"role": "assistant", "content": "\n".join(filter(None, parts))}
    if calls and with_calls:
        flat["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": _arguments(given)}}
            for id_, name, given in calls
        ]
    thoughts = message.reasoning_content or message.reasoning
    return {**flat, "reasoning_content": thoughts} if thoughts else flat


def _arguments(given: str) -> Any:
    """The arguments of a call as an object, which templates write as JSON; as the text that came if it is none."""
    try:
        value = parse_json(given)
    except ValueError:
        return given
    return value if isinstance(value, dict) else given


def _text(content: Any, place: str, name: str | None = None) -> str:
    """The text of a message, behind the name of its author if it has one."""
    parts = [content] if isinstance(content, str) else []
    for number, part in enumerate([] if isinstance(content, str) else content):
        if isinstance(part, MediaPart):
            raise unsupported(f"{place}.content.{number}", f"{part.type} is no text, and models here read text only")
        parts.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    text = "".join(parts)
    return f"{name}: {text}" if name else text


def chat_prompt(
    served: ServedModel,
    messages: Sequence[FlatMessage],
    variables: Mapping[str, Any] | None = None,
    *,
    tools: Sequence[Tool] = (),
    continues_last: bool = False,
    header: Sequence[int] = (),
    max_tokens: int | None = None,
    must_fit: bool = True,
) -> FittedPrompt:
    """The prompt of a conversation: with `continues_last`, up to the end of the assistant's last message. With
    `max_tokens`, the oldest messages are omitted until there is room for so many tokens behind it.

    `tools` and `variables` are for the template; `header` stands behind the beginning of the answer; `must_fit`
    refuses at once what is certainly longer than the context.

    Raises:
        ApiError: the model was not tuned on conversations, or its template does not take this one.
        TooManyTokensError: it must fit, and does not.
    """
    if continues_last and messages[-1]["role"] != "assistant":
        raise refused("continue_final_message", "the last message is not the assistant's")
    encode = _encoder(served, variables, tools, header, continues_last, must_fit)
    try:
        if any(message["role"] == "system" for message in messages[1:]):
            messages = messages if max_tokens is None and _takes_all(served, messages, variables) else _joined(messages)
        if max_tokens is None:
            return FittedPrompt(encode(messages))
        return fit_messages(messages, encode, max_prompt_tokens(served.context_length, max_tokens))
    except TooManyTokensError:
        raise
    except UserError as error:
        raise api_error(error, "messages") from None


def _takes_all(served: ServedModel, messages: Sequence[FlatMessage], variables: Mapping[str, Any] | None) -> bool:
    """Whether the template writes system messages wherever they stand."""
    try:
        text = served.template().render(messages, tokenizer=served.tokenizer, variables=variables)
    except UserError:
        return False
    return all(message["content"].strip() in text for message in messages if message["role"] == "system")


def _joined(messages: Sequence[FlatMessage]) -> list[FlatMessage]:
    """A conversation with all its system messages as one at the beginning."""
    system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    others = [message for message in messages if message["role"] != "system"]
    return [{"role": "system", "content": system}, *others]


def _encoder(
    served: ServedModel,
    variables: Mapping[str, Any] | None,
    tools: Sequence[Tool],
    header: Sequence[int],
    continues_last: bool,
    must_fit: bool,
) -> Callable[[Sequence[FlatMessage]], list[int]]:
    """A function that gives the tokens of messages by the model's template."""
    template, tokenizer = served.template(), served.tokenizer
    longest = served.context_length if must_fit else None

    def encode(messages: Sequence[FlatMessage]) -> list[int]:
        before = messages[:-1] if continues_last else messages
        if not before:
            raise refused("continue_final_message", "there is no message before the last one")
        token_ids = [*template.prompt_ids(tokenizer, before, variables, longest, tools), *header]
        if not continues_last:
            return token_ids
        begun = messages[-1]["content"]
        # Behind the header of an answer there are no thoughts.
        return [*token_ids, *tokenizer.encode_inside(divided_thoughts(begun)[1] if header else begun)]

    return encode
