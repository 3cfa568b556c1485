"""Questions in the two ways in which models read them: as a text to go on with, and as a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.text.chat_template import Message

BETWEEN = "\n\n"
"""What stands between questions with their answers, in a text. A reply ends there."""


@dataclass(frozen=True)
class Prompt:
    """What comes before an answer.

    Attributes:
        text: for a model that goes on with text.
        messages: for a model that answers conversations; the last turn is the user's.
    """

    text: str
    messages: tuple[Message, ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Prompt:
        """A conversation as a prompt; as a text it is a row of questions and answers."""
        titles = {"user": "Question: ", "assistant": "Answer: "}
        lines = [titles.get(str(message["role"]), "") + str(message["content"]) for message in messages]
        return cls("\n".join([*lines, "Answer:"]), tuple(messages))

    @classmethod
    def written(cls, text: str) -> Prompt:
        """A text that the answer goes on with; in a conversation the user says it."""
        return cls(text, (user(text),))

    def after(self, shots: Sequence[tuple[Prompt, str]]) -> Prompt:
        """This prompt with others and their answers before it, as earlier turns of one conversation."""
        text = "".join(f"{shot.text.rstrip()}{shot.gap}{answer}{BETWEEN}" for shot, answer in shots) + self.text
        system = tuple(message for message in self.messages if message["role"] == "system")
        turns: list[Message] = []
        for shot, answer in shots:
            turns += [message for message in shot.messages if message["role"] != "system"]
            turns.append({"role": "assistant", "content": answer})
        return Prompt(text, (*system, *turns, *self.messages[len(system) :]))

    @property
    def gap(self) -> str:
        """The white space between the text's last word and the answer: its own, or else a blank."""
        return self.text[len(self.text.rstrip()) :] or " "


def user(content: str) -> Message:
    """A turn of the user's."""
    return {"role": "user", "content": content}
