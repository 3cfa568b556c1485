"""From a conversation as it is sent to the ids that a model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.serve.errors import ApiError, api_error, refused, unsupported
from gptsmith.serve.openai.schemas.chat import (
    AssistantMessage,
    ChatMessage,
    FunctionMessage,
    MediaPart,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from gptsmith.serve.openai.schemas.common import RefusalPart
from gptsmith.serve.openai.tools import render_call
from gptsmith.serve.served_models import ServedModel
from gptsmith.text.chat_template import checked_messages


def flatten_messages(messages: Sequence[ChatMessage], more: Sequence[str] = ()) -> list[dict[str, str]]:
    """Turns of a role and a text each, as templates take them. Calls become the text that the model wrote; what the
    model is told first, `more` included, is one turn.

    Raises:
        ApiError: a turn is not allowed; it is named.
    """
    told: list[str] = []
    turns: list[dict[str, str]] = []
    called: set[str] = set()
    for number, message in enumerate(messages):
        place = f"messages.{number}"
        if isinstance(message, SystemMessage):
            if turns:
                raise refused(place, f"the {message.role}'s turn may only stand at the beginning")
            told.append(_text(message.content, place, message.name))
        elif isinstance(message, UserMessage):
            turns.append({"role": "user", "content": _text(message.content, place, message.name)})
        elif isinstance(message, AssistantMessage):
            if message.audio is not None:
                raise unsupported(f"{place}.audio", "models here read and write text only")
            calls = [
                render_call(call.function.name, call.function.arguments)
                if call.type == "function"
                else render_call(call.custom.name, call.custom.input, is_custom=True)
                for call in message.tool_calls or []
            ]
            called |= {call.id for call in message.tool_calls or []}
            if message.function_call is not None:
                calls.append(render_call(message.function_call.name, message.function_call.arguments))
            words = [] if message.content is None else [_text(message.content, place, message.name)]
            if message.refusal:
                words.append(message.refusal)
            if not words and not calls:
                raise refused(f"{place}.content", "the assistant's turn has neither words nor calls")
            turns.append({"role": "assistant", "content": "\n".join([*filter(None, words), *calls])})
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                raise refused(f"{place}.tool_call_id", "no call before it has this id")
            turns.append({"role": "tool", "content": _text(message.content, place)})
        else:
            assert isinstance(message, FunctionMessage)
            turns.append({"role": "tool", "content": message.content or ""})
    told += more
    return [{"role": "system", "content": "\n\n".join(told)}, *turns] if told else turns


def _text(content: Any, place: str, name: str | None = None) -> str:
    """The text of a message; where its author has a name, that stands before it."""
    parts = [content] if isinstance(content, str) else []
    for number, part in enumerate([] if isinstance(content, str) else content):
        if isinstance(part, MediaPart):
            raise unsupported(f"{place}.content.{number}", f"{part.type} is no text, and models here read text only")
        parts.append(part.refusal if isinstance(part, RefusalPart) else part.text)
    text = "".join(parts)
    return f"{name}: {text}" if name else text


def prompt_token_ids(
    served: ServedModel,
    turns: Sequence[dict[str, str]],
    variables: Mapping[str, Any] | None = None,
    *,
    goes_on: bool = False,
) -> list[int]:
    """The ids that the model answers; with `goes_on`, those of the assistant's last turn as far as it has come.
    `variables` are for the template.

    Raises:
        ApiError: the model was not made for conversations, or its template does not take this one.
    """
    template, tokenizer = served.template(), served.tokenizer
    if goes_on and turns[-1]["role"] != "assistant":
        raise refused("continue_final_message", "the last message is not the assistant's")
    try:
        checked = checked_messages(turns[:-1] if goes_on else turns)
        ids = template.prompt_ids(tokenizer, checked, variables)
        return [*ids, *tokenizer.encode_inside(turns[-1]["content"])] if goes_on else ids
    except ApiError:
        raise
    except UserError as error:
        raise api_error(error, "messages") from None
