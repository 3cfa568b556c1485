"""A body as requests to the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.generate.request import Constraint, Request
from gptsmith.serve.bodies import (
    AnyObject,
    AssistantMessage,
    ChatBody,
    ChatMessage,
    CompletionBody,
    MediaPart,
    RefusalPart,
    SamplingBody,
    SchemaFormat,
    TextPart,
)
from gptsmith.serve.errors import refused, unsupported
from gptsmith.serve.models import ServedModel
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.writing import seed_of

DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's."""
SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip


def check_choices(body: SamplingBody, num_texts: int, settings: ServeSettings) -> None:
    """Accepts a number of texts, and what may be said of a stream.

    Raises:
        ApiError: it is more than one request may ask for, or a stream's option comes without a stream.
    """
    if num_texts > settings.max_choices:
        raise refused("n", f"{num_texts} texts are more than the {settings.max_choices} that one request may ask for")
    if body.stream_options is not None and not body.stream:
        raise refused("stream_options", "only for streams: set stream to true, or leave it out")


def completion_requests(body: CompletionBody, served: ServedModel, settings: ServeSettings) -> list[Request]:
    """One request a text: each prompt's choices, one prompt after the other.

    Raises:
        ApiError: a field is not allowed.
    """
    if body.suffix is not None:
        raise unsupported("suffix", "text is written at the end of a prompt only, not before a suffix")
    choices, best_of = body.n or 1, body.best_of or body.n or 1
    if best_of < choices:
        raise refused("best_of", f"{best_of} is fewer than n={choices}")
    if best_of > choices and body.stream:
        raise refused("best_of", "the best of several texts is known when all have ended, so it cannot be streamed")
    prompts = [_prompt_ids(prompt, served) for prompt in _prompts(body)]
    check_choices(body, len(prompts) * best_of, settings)
    most = DEFAULT_COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens
    top_logprobs = 0 if body.logprobs is None and best_of > choices else body.logprobs
    tells_prompt = bool(body.echo) and body.logprobs is not None
    shared = _shared(body, served, most, settings)
    return [
        Request(prompt, choice=choice, top_logprobs=top_logprobs, prompt_logprobs=tells_prompt, **shared)
        for prompt in prompts
        for choice in range(best_of)
    ]


def chat_requests(body: ChatBody, served: ServedModel, settings: ServeSettings) -> list[Request]:
    """One request a choice.

    Raises:
        ApiError: a field is not allowed, or the model was not made for conversations.
    """
    _refuse_other_features(body)
    if body.top_logprobs is not None and not body.logprobs:
        raise refused("top_logprobs", "only with logprobs: set it to true, or leave top_logprobs out")
    choices = body.n or 1
    check_choices(body, choices, settings)
    ids = conversation_ids(body.messages, served, goes_on=bool(body.continue_final_message))
    most = body.max_completion_tokens or body.max_tokens or served.context_length
    top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    shared = _shared(body, served, most, settings)
    constraint = _constraint(body)
    return [
        Request(ids, choice=choice, top_logprobs=top_logprobs, constraint=constraint, **shared)
        for choice in range(choices)
    ]


def conversation_ids(messages: Sequence[ChatMessage], served: ServedModel, *, goes_on: bool = False) -> list[int]:
    """The ids that a model answers; with `goes_on`, those of its last, unfinished answer are the end of them.

    Raises:
        ApiError: a message is not of text, or the model was not made for conversations.
    """
    template = served.template()
    turns = [
        {"role": "system" if message.role == "developer" else message.role, "content": _text(message, number)}
        for number, message in enumerate(messages)
    ]
    if not goes_on:
        return template.prompt_ids(served.tokenizer, turns)
    if turns[-1]["role"] != "assistant":
        raise refused("continue_final_message", "the last message is not the assistant's")
    begun = served.tokenizer.encode_inside(turns[-1]["content"])
    return [*template.prompt_ids(served.tokenizer, turns[:-1]), *begun]


def _text(message: ChatMessage, number: int) -> str:
    if isinstance(message.content, str):
        return message.content
    if message.content is None:
        return message.refusal or "" if isinstance(message, AssistantMessage) else ""
    words = []
    for part in message.content:
        if isinstance(part, MediaPart):
            raise unsupported(f"messages.{number}.content", f"{part.type} is no text, and this model reads text only")
        if isinstance(part, RefusalPart):
            words.append(part.refusal)
        elif isinstance(part, TextPart):
            words.append(part.text)
    return "".join(words)


def _prompts(body: CompletionBody) -> list[str | list[int]]:
    prompt = body.prompt
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if isinstance(prompt[0], int):
        return [[int(number) for number in prompt]]
    return list(prompt)


def _prompt_ids(prompt: str | list[int], served: ServedModel) -> list[int]:
    return served.tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else prompt


def _shared(body: SamplingBody, served: ServedModel, max_tokens: int, settings: ServeSettings) -> dict[str, Any]:
    """What all texts of a request have in common."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if settings.max_tokens is not None:
        max_tokens = min(max_tokens, settings.max_tokens)
    return {
        "max_tokens": max_tokens,
        "sampling": served.sampling({name: getattr(body, name) for name in SAMPLING}),
        "seed": seed_of(body.seed),
        "stop": stop,
        "stop_ids": frozenset(body.stop_token_ids or ()),
        "ignore_end": bool(body.ignore_eos),
        "logit_bias": _logit_bias(body.logit_bias or {}, served),
    }


def _logit_bias(given: Mapping[str, float], served: ServedModel) -> dict[int, float]:
    for token in given:
        if int(token) >= served.vocab_size:
            raise refused("logit_bias", f"there is no token {token}: they go up to {served.vocab_size - 1}")
    return {int(token): bias for token, bias in given.items()}


def _constraint(body: ChatBody) -> Constraint | None:
    form = body.response_format
    if form is None or form.type == "text":
        return None
    if isinstance(form, AnyObject):
        return Constraint("json_object")
    if isinstance(form, SchemaFormat):
        return Constraint("json_schema", json.dumps(form.json_schema.schema_ or {"type": "object"}))
    if form.type == "regex":
        return Constraint("regex", form.regex)
    return Constraint("grammar", form.grammar)


def _refuse_other_features(body: ChatBody) -> None:
    """Refuses by name what this server does not do.

    Raises:
        ApiError: the body asks for it.
    """
    for name in ("tools", "functions", "web_search_options", "audio", "moderation"):
        if getattr(body, name):
            raise unsupported(name, "not done by this server: leave it out")
    for name in ("tool_choice", "function_call"):
        if getattr(body, name) not in (None, "none", "auto"):
            raise unsupported(name, "there are no tools to call: leave it out")
    if body.store:
        raise unsupported("store", "nothing is stored here: leave it out")
    if body.modalities and body.modalities != ["text"]:
        raise unsupported("modalities", "text alone is written here")
