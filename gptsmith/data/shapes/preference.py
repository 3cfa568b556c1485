"""Pairs of completions of which one is preferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.turns import (
    UNREAD_IN_PREFERENCES,
    checked_turns,
    completed,
    contents,
    hh_turns,
    joined,
    plain_answer,
    prompt_turns,
    require_read,
    turns,
    with_system,
)
from gptsmith.text.chat_template import Message


@dataclass(frozen=True)
class PreferenceExample(Example):
    """A conversation and two completions of it, of which people prefer one."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str

    def question(self) -> str:
        return json_text([dict(message) for message in self.messages])

    def question_texts(self) -> Iterator[str]:
        yield from contents(self.messages)

    def every_text(self) -> Iterator[str]:
        yield from (*self.question_texts(), self.chosen, self.rejected)


class PreferenceShape(ExampleShape):
    """A prompt with a chosen and a rejected completion."""

    kind: Literal["preference"] = "preference"
    record_fields: ClassVar[str] = "prompt, chosen, rejected; or chosen, rejected that begin with the same prompt"
    priority: ClassVar[int] = 3

    def matches(self, fields: Mapping[str, Any]) -> bool:
        return {"chosen", "rejected"} <= fields.keys()

    def example(self, fields: Mapping[str, Any], place: str) -> PreferenceExample:
        require_read(fields, UNREAD_IN_PREFERENCES, "the record")
        prompt = fields.get("prompt", fields.get("question"))
        before = [] if prompt is None else hh_turns(prompt) or prompt_turns(prompt)
        shared, chosen, rejected = _divided(fields["chosen"], fields["rejected"], is_alone=prompt is None)
        messages = with_system(joined(before, shared), fields)
        if not messages:
            raise DataError("the prompt is missing")
        if isinstance(prompt, str) and chosen.startswith(prompt) and rejected.startswith(prompt):
            chosen, rejected = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
        if chosen == rejected:
            raise DataError("chosen and rejected are the same: there is nothing to prefer")
        return PreferenceExample(place, checked_turns(messages), chosen, rejected)


def _divided(chosen: Any, rejected: Any, *, is_alone: bool) -> tuple[list[dict[str, Any]], str, str]:
    """The shared beginning of two completions as turns, and the rest of each as text. A text without a prompt beside it
    is divided at the last line end before the two differ.

    Raises:
        DataError: they differ before the assistant's last turn.
    """
    both = [hh_turns(each) or (turns(each) if isinstance(each, list) else None) for each in (chosen, rejected)]
    if both[0] is not None and both[1] is not None:
        return _divided_turns(both[0], both[1])
    texts = [completed([], each, name)[1] for each, name in ((chosen, "chosen"), (rejected, "rejected"))]
    if not is_alone:
        return [], texts[0], texts[1]
    lines = zip(*(text.splitlines(keepends=True) for text in texts), strict=False)
    question = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], lines))
    if not question.strip():
        return [], texts[0], texts[1]
    turn = {"role": "user", "content": question.strip()}
    return [turn], texts[0].removeprefix(question), texts[1].removeprefix(question)


def _divided_turns(
    chosen: list[dict[str, Any]], rejected: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], str, str]:
    if chosen == rejected:
        raise DataError("chosen and rejected are the same: there is nothing to prefer")
    num_shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))))
    rest = [each[num_shared:] for each in (chosen, rejected)]
    if any(len(each) != 1 or each[0]["role"] != "assistant" for each in rest):
        raise DataError(
            f"chosen and rejected differ from turn {num_shared + 1} on, and not in the assistant's last turn alone: "
            "give both the same turns before it"
        )
    return chosen[:num_shared], plain_answer(rest[0][0], "chosen"), plain_answer(rest[1][0], "rejected")
