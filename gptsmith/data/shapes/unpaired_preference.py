"""Single completions, each desirable or undesirable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.turns import (
    UNREAD_IN_PREFERENCES,
    checked_turns,
    completed,
    contents,
    prompt_turns,
    require_read,
    with_system,
)
from gptsmith.text.chat_template import Message

BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class UnpairedPreferenceExample(Example):
    """A conversation, a completion of it, and whether that is a desirable one."""

    messages: tuple[Message, ...]
    completion: str
    is_desirable: bool

    def question(self) -> str:
        return json_text([dict(message) for message in self.messages])

    def question_texts(self) -> Iterator[str]:
        yield from contents(self.messages)

    def every_text(self) -> Iterator[str]:
        yield from (*self.question_texts(), self.completion)


class UnpairedPreferenceShape(ExampleShape):
    """A prompt with a completion and a label: true for a desirable completion, false for an undesirable one."""

    kind: Literal["unpaired_preference"] = "unpaired_preference"
    record_fields: ClassVar[str] = "prompt, completion, label (true or false)"
    priority: ClassVar[int] = 1

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return {"prompt", "completion", "label"} <= fields.keys() and _boolean(fields["label"]) is not None

    def example(self, fields: Mapping[str, Any], place: str) -> UnpairedPreferenceExample:
        require_read(fields, UNREAD_IN_PREFERENCES, "the record")
        prompt = with_system(prompt_turns(fields["prompt"]), fields)
        before, completion = completed(prompt, fields["completion"], "completion")
        messages, is_desirable = checked_turns(before), _boolean(fields["label"])
        if is_desirable is None:
            raise DataError(f"the label is {fields['label']!r}: give true (desirable) or false (undesirable)")
        if not completion.strip():
            raise DataError("the completion is empty: there is nothing to learn")
        return UnpairedPreferenceExample(place, messages, completion, is_desirable)


def _boolean(label: Any) -> bool | None:
    """A label as JSON, or as a table of text, writes true and false; None if it is neither."""
    if isinstance(label, bool):
        return label
    return BOOLEANS.get(label.strip().casefold()) if isinstance(label, str) else None
