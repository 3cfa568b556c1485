"""Prompts in the two forms that models read: as a text to continue, and as a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.text.chat_template import Message

SHOT_SEPARATOR = "\n\n"
"""Stands between few-shot examples in a text. A reply ends there."""


@dataclass(frozen=True)
class Prompt:
    """The text or the conversation before an answer.

    Attributes:
        text: for a base model, which continues text.
        messages: for a chat model, which answers conversations; the last turn is the user's.
    """

    text: str
    messages: tuple[Message, ...]

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Prompt:
        """A conversation as a prompt; as a text it is a row of questions and answers."""
        titles = {"user": "Question: ", "assistant": "Answer: "}
        lines = [titles.get(str(message["role"]), "") + str(message["content"]) for message in messages]
        return cls("\n".join([*lines, "Answer:"]), tuple(messages))

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """A text that the answer continues; in a conversation it is the user's turn."""
        return cls(text, (user(text),))

    def with_shots(self, shots: Sequence[tuple[Prompt, str]]) -> Prompt:
        """This prompt with few-shot examples before it: other prompts with their answers, as earlier turns."""
        text = (
            "".join(f"{shot.text.rstrip()}{shot.space}{answer}{SHOT_SEPARATOR}" for shot, answer in shots) + self.text
        )
        system = tuple(message for message in self.messages if message["role"] == "system")
        turns: list[Message] = []
        for shot, answer in shots:
            turns += [message for message in shot.messages if message["role"] != "system"]
            turns.append({"role": "assistant", "content": answer})
        return Prompt(text, (*system, *turns, *self.messages[len(system) :]))

    @property
    def question(self) -> str:
        """Its own words, without those of a form that it has as a text."""
        return "\n".join(str(message["content"]) for message in self.messages)

    @property
    def space(self) -> str:
        """The white space between the text's last word and the answer: its own, or else a blank."""
        return self.text[len(self.text.rstrip()) :] or " "


def user(content: str) -> Message:
    """A turn of the user's."""
    return {"role": "user", "content": content}
