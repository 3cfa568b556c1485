"""A conversation in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.base.json_text import json_text
from gptsmith.generate.api import Generation
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.retrieval.documents import Documents
from gptsmith.retrieval.grounding import Grounding, ground
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.context import fit_messages, fit_text, max_prompt_tokens
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.turn_markers import turn_markers


class Conversation:
    """A conversation: with a template, of turns; without one, a text that a person and a model continue in turn.

    Attributes:
        prompt: the last message of the person.
        last: the latest reply, or None.
        grounding: what the documents hold on that message; None without documents.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        *,
        system: str | None,
        max_tokens: int,
        sampling: SamplingSettings,
        seed: int,
        documents: Documents | None = None,
    ) -> None:
        """`documents` are looked through for each message.

        Raises:
            UserError: there is a system prompt, or there are documents, for a model that was not made for
                conversations.
        """
        if documents is not None and template is None:
            raise _for_tuned("documents are")
        self.engine, self.tokenizer, self.template = engine, tokenizer, template
        self.max_tokens, self.sampling, self.seed, self.documents = max_tokens, sampling, seed, documents
        self.beginning: list[dict[str, str]] = []
        self.set_system(system)

    def set_system(self, system: str | None) -> None:
        """Resets the conversation, with this system prompt or with none.

        Raises:
            UserError: the model was not made for conversations.
        """
        if system and self.template is None:
            raise _for_tuned("a system prompt is")
        self.beginning = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Drops all turns but the system prompt."""
        self.messages = list(self.beginning)
        self.text = self.prompt = ""
        self.last: Generation | None = None
        self.grounding: Grounding | None = None

    def __repr__(self) -> str:
        return f"Conversation({self.messages!r})" if self.template is not None else f"Conversation({self.text!r})"

    def say(self, message: str) -> str:
        """The whole reply to a message, which becomes a part of the conversation.

        Raises:
            UserError: the message alone does not fit, or is no text.
        """
        return "".join(self.stream(message))

    def stream(self, message: str) -> Iterator[str]:
        """The reply to a message piece by piece, which becomes a part of the conversation as far as it was read.

        Raises:
            UserError: the message alone does not fit, or is no text.
        """
        reply = self.send(message)
        try:
            yield from reply
        finally:
            self.add_reply(reply)

    def send(self, message: str) -> Generation:
        """The reply to a message, which `add_reply` makes a part of the conversation. The latest turns are read, as
        many as fit in the context.

        Raises:
            UserError: the message alone does not fit, or is no text.
        """
        limit = max_prompt_tokens(self.engine.context_length, self.max_tokens)
        # Nothing is changed before the ids are there, so that a message that is refused is not a part of it.
        if self.template is None:
            text = self.text + message
            ids = fit_text(self.tokenizer.prompt_ids(text), limit).token_ids
            self.prompt = self.text = text
        else:
            messages = [*self.messages, {"role": "user", "content": message}]
            ids, grounding = self._fitted(self.template, messages, limit)
            self.prompt, self.messages, self.grounding = message, messages, grounding
        self.last = Generation(self.engine, Request(ids, self.max_tokens, self.sampling, seed=self.seed))
        self.seed += 1
        return self.last

    def regenerate(self) -> Generation:
        """Another reply to the last message.

        Raises:
            UserError: there is none yet.
        """
        if self.last is None:
            raise UserError("there is no message yet whose reply could be regenerated")
        message = self.prompt
        if self.template is None:
            self.text = self.text[: len(self.text) - len(self.last.text)]
            return self.send("")
        del self.messages[-2:]
        return self.send(message)

    def add_reply(self, reply: Generation) -> None:
        """Appends a reply, as far as it was generated."""
        self.text += reply.text
        if self.template is not None:
            self.messages.append({"role": "assistant", "content": reply.text})

    def save(self, path: Path) -> None:
        """Writes the conversation: as an example for fine-tuning if the name ends in .jsonl, else as Markdown.

        Raises:
            UserError: the file is there already, or cannot be written.
        """
        if path.exists():
            raise UserError(f"{path} exists already: choose another name")
        if path.suffix == ".jsonl":
            row = {"messages": self.messages} if self.template is not None else {"text": self.text}
            content = json_text(row, ensure_ascii=False) + "\n"
        elif self.template is None:
            content = self.text + "\n"
        else:
            content = "\n".join(f"**{turn['role']}**\n\n{turn['content']}\n" for turn in self.messages)
        write_atomically(path, content, private=True)

    def _fitted(
        self, template: ChatTemplate, messages: Sequence[dict[str, str]], limit: int
    ) -> tuple[list[int], Grounding | None]:
        """The ids of a conversation, and what the documents hold on its last message."""

        def encode(some: Sequence[dict[str, str]]) -> list[int]:
            return template.prompt_ids(self.tokenizer, some)

        grounding = None
        if self.documents is not None:
            messages, grounding = ground(
                self.documents, messages, lambda some: len(encode(some)), limit,
                gives_way=True, markers=turn_markers(template, self.tokenizer),
            )  # fmt: skip
        ids = fit_messages(messages, encode, limit).token_ids
        if len(ids) > limit:
            raise UserError(f"{len(ids)} tokens do not fit in the model's context: send a shorter message")
        return ids, grounding


def _for_tuned(what: str) -> UserError:
    tuning = shell_command("finetune", "RUN", "CONVERSATIONS.jsonl")
    return UserError(f"{what} for models that were tuned on conversations: {tuning}")
