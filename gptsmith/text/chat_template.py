"""Conversations to token ids: a run's chat template, the same one wherever the run is trained, talked to or exported.

Text that people wrote never turns into special tokens: special spellings in it are masked before the template is
rendered; what the template itself wrote is split at the real ones; then the text is put back and encoded as text.
Tools, calls and thoughts go to the template as it knows them, and are texts of the conversation where it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import read_text
from gptsmith.base.errors import DataError, one_line
from gptsmith.base.files import write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.text.call_forms import CallForm, call_form
from gptsmith.text.masking import Masking, special_pattern
from gptsmith.text.thoughts import end_of_thoughts, thoughts_of, with_thoughts
from gptsmith.text.tokenizer import TURN_END, Tokenizer
from gptsmith.text.tool_calls import (
    PROBED_CONVERSATION,
    PROBED_TOOL,
    has_known_call,
    knows_tools,
    with_tools_as_text,
)

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
"""A turn: its `role` and its `content`; of the assistant's also its `tool_calls` and its thoughts."""

Tool = Mapping[str, Any]
"""A tool as OpenAI describes it: `{"type": "function", "function": {"name": ..., "parameters": ...}}`."""


@dataclass(frozen=True)
class Encoded:
    """Token ids, and for each whether a model is trained to write it."""

    ids: Sequence[int]
    trained: Sequence[int]
    """True or 1 for those that a model is trained to write."""


class ChangedTurnError(DataError):
    """A template shows a turn of the assistant in another way when more turns follow."""


def _without() -> str:
    """The way on without a template, in words."""
    return f"{shell_command('generate', 'MODEL')} continues a text without a template"


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
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as text; with `open_turn`, the beginning of the assistant's next turn after it. `tools` are
        those that may be called, `variables` further variables of the template.

        Raises:
            DataError: the template refuses the conversation, or is not sound.
        """
        if not self.knows_tools:
            messages, tools = with_tools_as_text(messages, tools), ()
        given = {
            "tools": list(tools) or None,
            "documents": None,
            **tokenizer.named_tokens,
            **(variables or {}),
            "messages": with_thoughts(messages, self.source),
            "add_generation_prompt": open_turn,
        }
        return self._rendered(given)

    def _rendered(self, given: Mapping[str, Any]) -> str:
        from jinja2 import UndefinedError

        from gptsmith.text.template_environment import render

        compiled = self._compiled
        try:
            return render(compiled, given)
        except Exception as error:  # a template can raise whatever Python does
            hint = f" ({_without()})" if isinstance(error, UndefinedError) else ""
            raise DataError(f"the chat template does not take this conversation: {one_line(error)}{hint}") from None

    @property
    def knows_tools(self) -> bool:
        """Whether the template writes tools, calls and results itself; where not, they are texts of a conversation."""
        return knows_tools(self._probed)

    @property
    def tags_calls(self) -> bool:
        """Whether it knows tools, and writes calls in a form that is read here."""
        return knows_tools(self._probed) and has_known_call(self._probed)

    @cached_property
    def call_form(self) -> CallForm | None:
        """The form in which it writes calls without tags; None if it knows no tools, or writes calls otherwise."""
        return call_form(self._probed) if knows_tools(self._probed) else None

    @cached_property
    def _probed(self) -> str:
        """The probed conversation by a template that reads tools; empty if it takes none."""
        if "tools" not in self.variables:
            return ""
        named = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "")
        given = {**named, "tools": [PROBED_TOOL], "documents": None, "messages": list(PROBED_CONVERSATION)}
        try:
            return self._rendered({**given, "add_generation_prompt": True})
        except DataError:
            return ""

    def prompt_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
    ) -> list[int]:
        """The ids of a prompt: the conversation, and the beginning of the assistant's turn.

        Raises:
            TooManyTokensError: it is certainly longer than `max_tokens`, of which None is no bound.
        """
        return self.rendered_ids(
            tokenizer, messages, open_turn=True, tools=tools, variables=variables, max_tokens=max_tokens
        )

    def rendered_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        open_turn: bool,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> list[int]:
        """The ids of a conversation; with `open_turn`, of the beginning of the assistant's next turn too."""
        masking = Masking(tokenizer, messages, tools)
        text = self.render(
            masking.masked(messages),
            tokenizer=tokenizer,
            open_turn=open_turn,
            tools=masking.masked(tools),
            variables=variables,
        )
        tokenizer.check_length(text, max_tokens)
        return masking.ids(text)

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        only_last: bool = False,
        tools: Sequence[Tool] = (),
        learns_thoughts: bool = True,
    ) -> Encoded:
        """A whole conversation, trained on what the assistant writes: its thoughts, its text, its calls of `tools`, and
        the token that ends its turn; with `only_last`, on its last turn alone, and without `learns_thoughts` on all but
        its thoughts.

        Raises:
            ChangedTurnError: the template shows a turn in another way when more turns follow.
            DataError: the assistant has no turn in it, or the template does not show its turns, or its thoughts.
        """
        masking = Masking(tokenizer, messages, tools)
        masked, tools = masking.masked(messages), masking.masked(tools)
        special = special_pattern(tokenizer)
        whole = self.render(masked, tokenizer=tokenizer, tools=tools)
        ids: list[int] = []
        trained: list[bool] = []
        done = 0

        def add(text: str, is_trained: bool, thoughts: str = "") -> None:
            """Appends a text, of which the thoughts at its beginning are not learnt."""
            new = masking.ids(text, begins=not ids)
            apart = masking.ids(thoughts, begins=not ids) if thoughts else []
            num_thoughts = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(new, apart, strict=False))))
            ids.extend(new)
            trained.extend([False] * num_thoughts + [is_trained] * (len(new) - num_thoughts))

        for turn, message in enumerate(masked):
            if message["role"] != "assistant" or (only_last and turn < len(messages) - 1):
                continue
            before = self.render(masked[:turn], tokenizer=tokenizer, open_turn=True, tools=tools)
            after = self.render(masked[: turn + 1], tokenizer=tokenizer, tools=tools)
            if not (whole.startswith(before) and whole.startswith(after) and done <= len(before) <= len(after)):
                raise ChangedTurnError(
                    f"the chat template changes turn {turn + 1} when more turns follow, so that it does not show "
                    "which tokens are the assistant's: tune on conversations of one answer, or with another template"
                )
            written = after[len(before) :]
            ends = [match.end() for match in special.finditer(written)]
            if not ends:
                raise DataError("the chat template ends the assistant's turn with no special token: it could not stop")
            add(whole[done : len(before)], False)
            thoughts = _thoughts(written, message, turn + 1)
            add(written[: ends[-1]], message.get(TRAIN) is not False, "" if learns_thoughts else thoughts)
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
            raise DataError(f"the chat template is not sound Jinja: {one_line(error)} ({_without()})") from None


def _thoughts(written: str, message: Message, number: int) -> str:
    """The beginning of a turn up to the end of its thoughts; empty if it has none.

    Raises:
        DataError: the template left out thoughts that are to be learnt.
    """
    thoughts = thoughts_of(message)
    if not thoughts or message.get(TRAIN) is False:
        return ""
    end = end_of_thoughts(written, thoughts)
    if end is None:
        raise DataError(
            f"turn {number} has thoughts, which the chat template leaves out, so that they cannot be learnt: leave "
            "them out of the example, or tune a base whose template shows them"
        )
    return written[:end]


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


def default_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template of a model that has none: ChatML where the tokenizer has its tokens, else a plain one whose answers
    end in the tokenizer's own EOS token."""
    return ChatTemplate(CHATML if TURN_END in tokenizer.special_tokens else PLAIN)
