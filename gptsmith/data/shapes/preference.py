"""Pairs of completions of which one is preferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.turns import completion_of, prompt_messages
from gptsmith.text.chat_template import Message


@dataclass(frozen=True)
class PreferenceExample(Example):
    """A conversation and two completions of it, of which people prefer one."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str

    def question(self) -> str:
        return json_text([dict(message) for message in self.messages])


class PreferenceShape(ExampleShape):
    """A prompt with a chosen and a rejected completion."""

    kind: Literal["preference"] = "preference"
    record_fields: ClassVar[str] = "prompt, chosen, rejected"
    priority: ClassVar[int] = 3

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return {"chosen", "rejected"} <= fields.keys()

    def example(self, fields: Mapping[str, Any], place: str) -> PreferenceExample:
        chosen, rejected = (completion_of(fields[name], name) for name in ("chosen", "rejected"))
        prompt = fields.get("prompt", fields.get("question"))
        if prompt is None and isinstance(fields["chosen"], list):
            prompt = fields["chosen"][:-1]
        if prompt is None:
            raise DataError("the prompt is missing")
        messages = prompt_messages(prompt)
        if chosen == rejected:
            raise DataError("chosen and rejected are the same: there is nothing to prefer")
        return PreferenceExample(place, messages, chosen, rejected)
