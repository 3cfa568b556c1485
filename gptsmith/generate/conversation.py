"""A conversation in the terminal, as it grows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.generate.api import Generation
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.context import fit_messages, fit_text, max_prompt_tokens
from gptsmith.text.tokenizer import Tokenizer


class Conversation:
    """A conversation: with a template, of turns; without one, a text that a person and a model write.

    Attributes:
        prompt: the text that the model was last given by the person.
        last: the reply to it, until something else is said.
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
    ) -> None:
        """
        Raises:
            UserError: there is a system prompt for a model that was not made for conversations.
        """
        self.engine, self.tokenizer, self.template = engine, tokenizer, template
        self.max_tokens, self.sampling, self.seed = max_tokens, sampling, seed
        self.beginning: list[dict[str, str]] = []
        self.set_system(system)

    def set_system(self, system: str | None) -> None:
        """Starts afresh with this system prompt, or with none.

        Raises:
            UserError: the model was not made for conversations.
        """
        if system and self.template is None:
            raise UserError("a system prompt is for models that were tuned on conversations (gptsmith finetune)")
        self.beginning = [{"role": "system", "content": system}] if system else []
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forgets all that was said."""
        self.messages = list(self.beginning)
        self.text = self.prompt = ""
        self.last: Generation | None = None

    def say(self, words: str) -> Generation:
        """The reply to what a person says. Of the turns, as many of the last ones are read as fit.

        Raises:
            UserError: these words alone do not fit, or are no text.
        """
        limit = max_prompt_tokens(self.engine.context_length, self.max_tokens)
        # Nothing is changed before the ids are there, so that words that cannot be said are not a part of it.
        if self.template is None:
            text = self.text + words
            ids = fit_text(self.tokenizer.prompt_ids(text), limit).token_ids
            self.prompt = self.text = text
        else:
            messages = [*self.messages, {"role": "user", "content": words}]
            ids = self._fitted(self.template, messages, limit)
            self.prompt, self.messages = words, messages
        self.last = Generation(self.engine, Request(ids, self.max_tokens, self.sampling, seed=self.seed))
        self.seed += 1
        return self.last

    def say_again(self) -> Generation:
        """Another reply to what was last said.

        Raises:
            UserError: nothing was said yet.
        """
        if self.last is None:
            raise UserError("nothing was said yet that could be answered again")
        words = self.prompt
        if self.template is None:
            self.text = self.text[: len(self.text) - len(self.last.text)]
            return self.say("")
        del self.messages[-2:]
        return self.say(words)

    def take_down(self, reply: Generation) -> None:
        """Keeps what the model has said as a part of the conversation."""
        self.text += reply.text
        if self.template is not None:
            self.messages.append({"role": "assistant", "content": reply.text})

    def save(self, path: Path) -> None:
        """Writes the conversation: as an example that can be tuned on where the name ends in .jsonl, else to be read.

        Raises:
            UserError: the file is there already, or cannot be written.
        """
        if path.exists():
            raise UserError(f"{path} exists already: choose another name")
        if path.suffix == ".jsonl":
            row = {"messages": self.messages} if self.template is not None else {"text": self.text}
            content = json.dumps(row, ensure_ascii=False) + "\n"
        elif self.template is None:
            content = self.text + "\n"
        else:
            content = "\n".join(f"**{turn['role']}**\n\n{turn['content']}\n" for turn in self.messages)
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from None

    def _fitted(self, template: ChatTemplate, messages: Sequence[dict[str, str]], limit: int) -> list[int]:
        def encode(some: Sequence[dict[str, str]]) -> list[int]:
            return template.prompt_ids(self.tokenizer, some)

        ids = fit_messages(messages, encode, limit).token_ids
        if len(ids) > limit:
            raise UserError(f"{len(ids)} tokens are more than the model's context has room for: say less at once")
        return ids
