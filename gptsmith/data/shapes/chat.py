"""Conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.tool_fields import tools_of
from gptsmith.data.turns import (
    UNREAD_RECORD_FIELDS,
    checked_turns,
    contents,
    prompt_turns,
    require_read,
    text_of,
    turns,
    with_system,
)
from gptsmith.text.chat_template import TRAIN, Message, Tool

PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"), ("question", "response"))


@dataclass(frozen=True)
class ChatExample(Example):
    """A conversation whose last turn is the assistant's."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    """The tools that may be called in it."""

    def question(self) -> str:
        return json_text([dict(message) for message in self.messages[:-1]])

    def question_texts(self) -> Iterator[str]:
        yield from contents(self.messages[:-1])

    def every_text(self) -> Iterator[str]:
        yield from contents(self.messages)


class ChatShape(ExampleShape):
    """A conversation, as a list of turns or as a question with its answer; with tools if it has some."""

    kind: Literal["chat"] = "chat"
    record_fields: ClassVar[str] = (
        "messages; conversations; prompt, response (or completion); question, answer; instruction, input, output"
    )

    def matches(self, fields: Mapping[str, Any]) -> bool:
        names = fields.keys()
        if names & {"messages", "conversations"} or any(set(pair) <= names for pair in PAIRS):
            return True
        return {"instruction", "output"} <= names or {"instruction", "response"} <= names

    def example(self, fields: Mapping[str, Any], place: str) -> ChatExample:
        require_read(fields, UNREAD_RECORD_FIELDS, "the record")
        messages = checked_turns(with_system(_messages(fields), fields))
        if not any(message["role"] == "assistant" for message in messages):
            raise DataError("the conversation has no turn of the assistant to learn from")
        if messages[-1]["role"] != "assistant":
            raise DataError(
                f"the conversation ends with the {messages[-1]['role']}'s turn: end it with the assistant's"
            )
        if not messages[-1]["content"].strip() and not messages[-1].get("tool_calls"):
            raise DataError("the assistant's last turn is empty: there is nothing to learn")
        if all(message.get(TRAIN) is False for message in messages if message["role"] == "assistant"):
            raise DataError("no turn of the assistant is to be learnt: give one the weight 1")
        return ChatExample(place, messages, tools_of(fields))


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The turns of a record."""
    found = fields.get("messages", fields.get("conversations"))
    if found is not None:
        return turns(found)
    if "instruction" in fields:
        question, answer = fields["instruction"], fields.get("output", fields.get("response"))
        more = fields.get("input") or fields.get("context")
    else:
        question_name, answer_name = next(pair for pair in PAIRS if set(pair) <= fields.keys())
        question, answer = fields[question_name], fields[answer_name]
        more = fields.get("context")
    if more and not isinstance(question, list):
        question = f"{text_of(question, 'question')}\n\n{text_of(more, 'context')}"
    before = [*_history(fields.get("history") or ()), *prompt_turns(question)]
    if isinstance(answer, list):
        return [*before, *turns(answer)]
    return [*before, {"role": "assistant", "content": text_of(answer, "answer")}]


def _history(pairs: Any) -> list[dict[str, Any]]:
    """The turns before a question, as pairs of a question and its answer."""
    listed: list[Any] = list(pairs) if isinstance(pairs, list | tuple) else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in listed):
        raise DataError("the history is no list of pairs of a question and its answer")
    return [
        {"role": role, "content": text_of(text, "history")}
        for pair in listed
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
