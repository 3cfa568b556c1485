"""Conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.turns import prompt_turns, text_of, turn
from gptsmith.text.chat_template import Message, checked_messages

PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"), ("question", "response"))


@dataclass(frozen=True)
class ChatExample(Example):
    """A conversation whose last turn is the assistant's."""

    messages: tuple[Message, ...]

    def question(self) -> str:
        return json_text([dict(message) for message in self.messages[:-1]])


class ChatShape(ExampleShape):
    """A conversation, as a list of turns or as a question with its answer."""

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
        messages = checked_messages(_messages(fields))
        if not any(message["role"] == "assistant" for message in messages):
            raise DataError("the conversation has no turn of the assistant to learn from")
        if messages[-1]["role"] != "assistant":
            raise DataError(
                f"the conversation ends with the {messages[-1]['role']}'s turn: end it with the assistant's"
            )
        if not messages[-1]["content"].strip():
            raise DataError("the assistant's last turn is empty: there is nothing to learn")
        return ChatExample(place, tuple(messages))


def _messages(fields: Mapping[str, Any]) -> Any:
    """The turns of a record."""
    turns = fields.get("messages", fields.get("conversations"))
    if turns is not None:
        return [turn(each) for each in turns]
    if "instruction" in fields:
        more = fields.get("input") or fields.get("context")
        question = f"{fields['instruction']}\n\n{more}" if more else fields["instruction"]
        answer = fields.get("output", fields.get("response"))
    else:
        question_name, answer_name = next(pair for pair in PAIRS if set(pair) <= fields.keys())
        question, answer = fields[question_name], fields[answer_name]
    system = [turn({"role": "system", "content": fields["system"]})] if fields.get("system") else []
    return [*system, *prompt_turns(question), {"role": "assistant", "content": text_of(answer, "answer")}]
