"""From the fields of Ollama's requests to the common ones, which are honoured in one way for all APIs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from gptsmith.base.json_text import json_text
from gptsmith.base.wrong_values import problem_in_words
from gptsmith.serve.chat.schemas.chat import ChatRequest, ResponseFormat
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.ollama.schemas import OllamaGenerationFields, OllamaMessage

NO_IMAGES = "models here read and write text only"


PENALTIES = {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}
"""By name, with the values that turn them off."""


def sampling_fields(body: OllamaGenerationFields) -> dict[str, Any]:
    """The common fields for what the options say.

    Raises:
        ApiError: penalties are to count a part of the tokens.
    """
    options = {} if body.options is None else body.options.model_dump(exclude_none=True)
    for name in ("penalize_newline", "vocab_only", "embedding_only", "logits_all", "f16_kv"):
        options.pop(name, None)
    last_n = options.pop("repeat_last_n", -1)
    if last_n > 0 and any(options.get(name, off) != off for name, off in PENALTIES.items()):
        raise unsupported("options.repeat_last_n", "penalties count all tokens here: give -1, or 0 for no penalties")
    if last_n == 0:
        options |= PENALTIES
    most = options.pop("num_predict", -1)
    fields = {**options, "stream": body.stream is not False}
    if body.truncate is not False:
        fields["truncation"] = "auto"
    return fields if most < 0 else {**fields, "max_tokens": most}


def response_format(given: Any) -> dict[str, Any] | None:
    """The common form of a format; None if it allows any text."""
    if not given:
        return None
    if given == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "format", "schema": given}}


def parsed_format(body: OllamaGenerationFields) -> ResponseFormat | None:
    """The format of a request that has no messages."""
    form = response_format(body.format)
    parts = {"messages": [{"role": "user", "content": ""}], "response_format": form}
    return ChatRequest.model_validate(parts).response_format


def chat_request(
    body: OllamaGenerationFields, messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()
) -> ChatRequest:
    """A conversation in the common form.

    Raises:
        ApiError: a field is not allowed.
    """
    fields = {**sampling_fields(body), "messages": list(messages), "response_format": response_format(body.format)}
    fields |= {"logprobs": body.logprobs, "top_logprobs": body.top_logprobs if body.logprobs else None}
    fields |= {"think": body.think} if isinstance(body.think, bool) else {"reasoning_effort": body.think}
    fields |= {"documents": body.documents}
    fields |= {"tools": [tool.model_dump(exclude_none=True) for tool in tools]} if tools else {}
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise refused(str(first["loc"][0]), problem_in_words(first)) from None


def chat_messages(messages: Sequence[OllamaMessage]) -> list[dict[str, Any]]:
    """The messages in the common form. The output of a tool goes to the first call without one, of its name if given.

    Raises:
        ApiError: a message has images, or is the output of no call.
    """
    found: list[dict[str, Any]] = []
    unanswered: list[tuple[str, str]] = []
    num_calls = 0
    for number, message in enumerate(messages):
        refuse_images(f"messages.{number}.images", message.images)
        fields: dict[str, Any] = {"role": message.role, "content": message.content or ""}
        if message.role == "tool":
            name = message.tool_name or message.name
            ids = [id_ for id_, called in unanswered if name in (None, called)]
            if not ids:
                raise refused(f"messages.{number}", "it is the output of a tool, and no call before it waits for one")
            fields["tool_call_id"] = ids[0]
            unanswered = [one for one in unanswered if one[0] != ids[0]]
        elif message.role == "assistant":
            fields |= {"reasoning_content": message.thinking} if message.thinking else {}
            calls = []
            for call in message.tool_calls or []:
                id_, num_calls = f"call_{num_calls}", num_calls + 1
                unanswered.append((id_, call.function.name))
                function = {"name": call.function.name, "arguments": json_text(call.function.arguments)}
                calls.append({"id": id_, "type": "function", "function": function})
            fields |= {"tool_calls": calls} if calls else {}
        found.append(fields)
    return found


def refuse_images(param: str, images: Sequence[Any] | None) -> None:
    """
    Raises:
        ApiError: there are images.
    """
    if images:
        raise unsupported(param, NO_IMAGES)
