"""Prompts in, texts out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.generate.engine import Generation
from gptsmith.text.chat import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer


def prompts_of(path: str | Path) -> list[str]:
    """The `prompt` of each line of a .jsonl file.

    Raises:
        UserError: the file cannot be read, or a line has no prompt.
    """
    prompts = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError):
            prompt = None
        if not isinstance(prompt, str):
            raise UserError(f'{path}, line {number}: expected an object such as {{"prompt": "Once upon a time"}}')
        prompts.append(prompt)
    if not prompts:
        raise UserError(f"{path} holds no prompts")
    return prompts


class Talk:
    """A conversation as it grows: with a template, of turns; without one, a text that a person and a model write.

    Attributes:
        prompt: the text that the model was last given by the person.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None, system: str | None = None) -> None:
        """
        Raises:
            UserError: there is a system prompt for a model that was not made for conversations.
        """
        if system is not None and template is None:
            raise UserError("--system is for models that were tuned on conversations (gptsmith finetune)")
        self.tokenizer, self.template = tokenizer, template
        self.beginning = [{"role": "system", "content": system}] if system else []
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forgets all that was said."""
        self.messages = list(self.beginning)
        self.text = self.prompt = ""

    def said(self, words: str, max_tokens: int) -> list[int]:
        """The ids that the model answers once a person has said `words`: of the turns, as many of the last ones as fit.

        Raises:
            UserError: these words alone do not fit.
        """
        if self.template is None:
            self.prompt = self.text = self.text + words
            return self.tokenizer.prompt_ids(self.text)
        self.prompt = words
        self.messages.append({"role": "user", "content": words})
        while True:
            ids = self.template.prompt_ids(self.tokenizer, self.messages)
            if len(ids) <= max(max_tokens, 1):
                return ids
            if len(self.messages) <= len(self.beginning) + 1:
                self.messages.pop()
                raise UserError(f"{len(ids)} tokens are more than the model's context has room for: say less at once")
            del self.messages[len(self.beginning) : len(self.beginning) + 2]

    def answered(self, words: str) -> None:
        """Takes down what the model has said."""
        self.text += words
        if self.template is not None:
            self.messages.append({"role": "assistant", "content": words})


def figures_of(generation: Generation, prompt: str) -> dict[str, Any]:
    """A finished generation as a JSON object: prompt, text, finish_reason, num_prompt_tokens, num_tokens,
    tokens_per_second, seconds."""
    return {
        "prompt": prompt,
        "text": generation.text,
        "finish_reason": generation.finish_reason,
        "num_prompt_tokens": generation.num_prompt_tokens,
        "num_tokens": generation.num_tokens,
        "tokens_per_second": generation.num_tokens / max(generation.seconds, 1e-9),
        "seconds": generation.seconds,
    }
