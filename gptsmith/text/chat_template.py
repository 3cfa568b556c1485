"""Conversations to token ids: a run's chat template, the same one wherever the run is trained, talked to or exported.

Text that people wrote never turns into special tokens: special spellings in it are masked before the template is
rendered; what the template itself wrote is split at the real ones; then the text is put back and encoded as text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import read_text
from gptsmith.base.errors import DataError, one_line
from gptsmith.base.files import write_atomically
from gptsmith.text.tokenizer import TURN_END, Tokenizer

TEMPLATE = "chat_template.jinja"
MAX_TEMPLATE = 1_000_000
MAX_TEMPLATE_BYTES = 4 * MAX_TEMPLATE
ROLES = ("system", "user", "assistant", "tool")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The template of the models that we tune: the ChatML that Qwen's family reads."""

PLAIN = (
    "{% for message in messages %}"
    "{{ message.role | capitalize + ':\n' + message.content }}"
    "{{ (eos_token if message.role == 'assistant' else '') + '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
"""The template of models whose tokenizer has no tokens for turns, such as GPT-2's: words, and the EOS token."""

TRAIN = "train"
"""The field of the assistant's turn that is False where training is not to learn it."""

Message = Mapping[str, Any]
"""A turn: its `role` and its `content`."""


@dataclass(frozen=True)
class Encoded:
    """Token ids, and for each whether a model is trained to write it."""

    ids: Sequence[int]
    trained: Sequence[int]
    """True or 1 for those that a model is trained to write."""

    def compact(self) -> Encoded:
        """The same in 5 bytes a token, where lists take some 40."""
        return Encoded(array("i", self.ids), array("b", self.trained))


class ChangedTurnError(DataError):
    """A template shows a turn of the assistant in another way when more turns follow."""


class ChatTemplate:
    """A Jinja template that formats a conversation, in a sandbox.

    Attributes:
        source: its text.
    """

    def __init__(self, source: str = CHATML) -> None:
        self.source = source

    @classmethod
    def load(cls, folder: Path) -> ChatTemplate | None:
        """The template of a run; None if the run is not made for conversations.

        Raises:
            UserError: it cannot be read.
        """
        path = folder / TEMPLATE
        return cls(read_text(path, MAX_TEMPLATE_BYTES)) if path.exists() else None

    def save(self, folder: Path) -> None:
        """Write the template where Transformers looks for it too."""
        write_atomically(folder / TEMPLATE, self.source)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tokenizer: Tokenizer,
        open_turn: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as text; with `open_turn`, the beginning of the assistant's next turn after it. `variables`
        are further variables of the template.

        Raises:
            DataError: the template refuses the conversation, or is not sound.
        """
        given = {
            "tools": None,
            "documents": None,
            **tokenizer.named_tokens,
            **(variables or {}),
            "messages": [_with_reasoning(message) for message in messages],
            "add_generation_prompt": open_turn,
        }
        from gptsmith.text.template_environment import render

        compiled = self._compiled
        try:
            return render(compiled, given)
        except Exception as error:  # a template can raise whatever Python does
            raise DataError(f"the chat template does not take this conversation: {one_line(error)}") from None

    def prompt_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> list[int]:
        """The ids of a prompt: the conversation, and the beginning of the assistant's turn.

        Raises:
            TooManyTokensError: it is certainly longer than `max_tokens`, of which None is no bound.
        """
        return self.rendered_ids(tokenizer, messages, open_turn=True, variables=variables, max_tokens=max_tokens)

    def rendered_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        open_turn: bool,
        variables: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> list[int]:
        """The ids of a conversation; with `open_turn`, of the beginning of the assistant's next turn too."""
        masked, hidden = _masked(messages, tokenizer)
        text = self.render(masked, tokenizer=tokenizer, open_turn=open_turn, variables=variables)
        tokenizer.check_length(text, max_tokens)
        return _ids(text, hidden, tokenizer)

    def encode(self, tokenizer: Tokenizer, messages: Sequence[Message], *, only_last: bool = False) -> Encoded:
        """A whole conversation, trained on what the assistant writes: its text and the token that ends its turn; with
        `only_last`, on its last turn alone.

        Raises:
            ChangedTurnError: the template shows a turn in another way when more turns follow.
            DataError: the assistant has no turn in it, or the template does not show where its turns are.
        """
        masked, hidden = _masked(messages, tokenizer)
        whole = self.render(masked, tokenizer=tokenizer)
        ids: list[int] = []
        trained: list[bool] = []
        done = 0

        def add(text: str, is_trained: bool) -> None:
            new = _ids(text, hidden, tokenizer, begins=not ids)
            ids.extend(new)
            trained.extend([is_trained] * len(new))

        for turn, message in enumerate(messages):
            if message["role"] != "assistant" or (only_last and turn < len(messages) - 1):
                continue
            before = self.render(masked[:turn], tokenizer=tokenizer, open_turn=True)
            after = self.render(masked[: turn + 1], tokenizer=tokenizer)
            if not (whole.startswith(before) and whole.startswith(after) and done <= len(before) <= len(after)):
                raise ChangedTurnError(
                    f"the chat template changes turn {turn + 1} when more turns follow, so that it does not show "
                    "which tokens are the assistant's: tune on conversations of one answer, or with another template"
                )
            written = after[len(before) :]
            ends = [match.end() for match in _special(tokenizer).finditer(written)]
            if not ends:
                raise DataError("the chat template ends the assistant's turn with no special token: it could not stop")
            add(whole[done : len(before)], False)
            add(written[: ends[-1]], message.get(TRAIN) is not False)
            done = len(before) + ends[-1]
        if not any(trained):
            raise DataError("the conversation has no turn of the assistant to learn from")
        add(whole[done:], False)
        return Encoded(ids, trained)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names of the variables that the template reads, such as `messages` and `enable_thinking`.

        Raises:
            DataError: the template is not sound.
        """
        from jinja2.meta import find_undeclared_variables

        try:
            return frozenset(find_undeclared_variables(self._compiled.environment.parse(self.source)))
        except RecursionError:
            raise DataError("the chat template is not sound Jinja: it is nested too deeply") from None

    @cached_property
    def _compiled(self) -> Any:
        from jinja2 import TemplateError

        from gptsmith.text.template_environment import template_environment

        if len(self.source) > MAX_TEMPLATE:
            raise DataError(f"the chat template is longer than {MAX_TEMPLATE:,} characters")
        try:
            return template_environment().from_string(self.source)
        except (TemplateError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise DataError(f"the chat template is not sound Jinja: {one_line(error)}") from None


def checked_messages(messages: Any) -> list[dict[str, str]]:
    """Messages that every template takes: known roles, texts as content, a system turn only at the beginning.

    Raises:
        DataError: they are not; the message says which turn.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataError('a conversation is a list of turns such as {"role": "user", "content": "Hello"}')
    checked = []
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if role not in ROLES or not isinstance(content, str):
            raise DataError(f"turn {number} needs a role ({', '.join(ROLES)}) and a text as its content")
        if role == "system" and number > 1:
            raise DataError(f"turn {number} is the system's, which may only be the first")
        checked.append({"role": role, "content": content})
    return checked


REASONING = ("reasoning_content", "thinking", "reasoning")
"""The names of an answer's thoughts: Transformers fills in the others of the first two, which templates read."""


def _with_reasoning(message: Message) -> dict[str, Any]:
    thoughts = next((message[name] for name in REASONING if message.get(name) is not None), None)
    return dict(message) if thoughts is None else {"thinking": thoughts, **message, "reasoning_content": thoughts}


def _special(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Matches the spelling of any special token, longer ones first."""
    return re.compile("|".join(map(re.escape, sorted(tokenizer.special_tokens, key=len, reverse=True))))


FIRST_MASK = 0xF0000
"""Masks are characters of a private plane, so that no template does anything to them."""


def _masked(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The messages with each special spelling in them replaced by a character that is not in them; and what those
    characters stand for."""
    written = {character for message in messages for character in str(message["content"])}
    free = (chr(code) for code in range(FIRST_MASK, FIRST_MASK + 0xFFFE) if chr(code) not in written)
    hidden: dict[str, str] = {}

    def mask(match: re.Match[str]) -> str:
        known = next((character for character, spelling in hidden.items() if spelling == match[0]), None)
        if known is None:
            known = next(free, None)
            if known is None:
                raise DataError("this conversation holds every private character and the spelling of a special token")
            hidden[known] = match[0]
        return known

    special = _special(tokenizer)
    masked = [{**message, "content": special.sub(mask, str(message["content"]))} for message in messages]
    return masked, hidden


def _ids(text: str, hidden: Mapping[str, str], tokenizer: Tokenizer, *, begins: bool = True) -> list[int]:
    """The ids of rendered text: special tokens as themselves, all else as text. `begins` says whether nothing stands
    before it."""
    if begins and not hidden and (whole := tokenizer.encode_spelt(text)) is not None:
        return whole
    ids: list[int] = []
    start, encode = 0, tokenizer.encode if begins else tokenizer.encode_inside
    for begin, end, number in tokenizer.special_matches(text):
        ids += _text_ids(text[start:begin], hidden, encode)
        ids.append(number)
        start, encode = end, tokenizer.encode_inside
    return ids + _text_ids(text[start:], hidden, encode)


def _text_ids(text: str, hidden: Mapping[str, str], encode: Callable[[str], list[int]]) -> list[int]:
    for character, spelling in hidden.items():
        text = text.replace(character, spelling)
    return encode(text) if text else []


def default_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template of a model that has none: ChatML where the tokenizer has its tokens, else a plain one whose answers
    end in the tokenizer's own EOS token."""
    return ChatTemplate(CHATML if TURN_END in tokenizer.special_tokens else PLAIN)
