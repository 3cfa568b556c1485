"""Texts of examples to token sequences that fit in a model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.base.notices import Notice
from gptsmith.text.chat_template import ChatTemplate, Encoded, Message, Tool
from gptsmith.text.context import FittedPrompt, fit_messages
from gptsmith.text.tokenizer import TURN_END, TURN_START, Tokenizer


@dataclass(frozen=True)
class FittedConversation:
    """A conversation that fits in the context, with one ending or several.

    Attributes:
        sequences: its tokens with each ending.
        num_omitted: the oldest turns, after the system's, that were left out.
    """

    sequences: list[Encoded]
    num_omitted: int


@dataclass(frozen=True)
class Encoder:
    """Encodes the texts of an example as token ids that fit in a model's context."""

    tokenizer: Tokenizer
    template: ChatTemplate
    context_length: int
    learns_thoughts: bool = True
    """Whether training is on the assistant's thoughts, too."""

    def conversation(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, only_last: bool = False
    ) -> FittedConversation:
        """A conversation with the tools that may be called in it, trained on the assistant's turns; with `only_last` on
        the last of them alone.

        Raises:
            UserError: its last question and answer are longer than the context.
        """
        return self._fitted(messages, [()], only_last=only_last, tools=tools)

    def completions(
        self, messages: Sequence[Message], completions: Sequence[str], *, only_last: bool = True
    ) -> FittedConversation:
        """A conversation with each of several completions, all without the same oldest turns; trained on the
        completions, or without `only_last` on all of the assistant's turns.

        Raises:
            UserError: the last question with a completion is longer than the context.
        """
        turns = [({"role": "assistant", "content": text},) for text in completions]
        return self._fitted(messages, turns, only_last=only_last)

    def _fitted(
        self,
        messages: Sequence[Message],
        endings: Sequence[Sequence[Message]],
        *,
        only_last: bool,
        tools: Sequence[Tool] = (),
    ) -> FittedConversation:
        """Messages with each of several endings, without the oldest turns for which the context has no room."""
        encoded: dict[int, list[Encoded]] = {}

        def longest(kept: Sequence[Message]) -> list[int]:
            each = [
                self.template.encode(
                    self.tokenizer,
                    [*kept, *ending],
                    only_last=only_last,
                    tools=tools,
                    learns_thoughts=self.learns_thoughts,
                )
                for ending in endings
            ]
            encoded[len(kept)] = each
            return list(max(each, key=lambda one: len(one.ids)).ids)

        fitted = fit_messages([dict(message) for message in messages], longest, self.context_length)
        if len(fitted.token_ids) > self.context_length:
            raise UserError(
                Notice(
                    f"{len(fitted.token_ids)} tokens of the last question and its answer do not fit in the context of "
                    f"{self.context_length}, so that the answer would be cut off: shorten it, or skip such examples "
                    "with --skip-bad",
                    "example_too_long",
                    num_tokens=len(fitted.token_ids),
                    context=self.context_length,
                )
            )
        num_kept = len(messages) - fitted.num_omitted
        return FittedConversation(encoded[num_kept], fitted.num_omitted)

    def prompt(self, messages: Sequence[Message], max_tokens: int, tools: Sequence[Tool] = ()) -> FittedPrompt:
        """A conversation that the model goes on with for up to `max_tokens`, without its oldest turns if it is too
        long.

        Raises:
            UserError: its last question and `max_tokens` are longer than the context.
        """
        room = self.context_length - max_tokens
        fitted = fit_messages(
            [dict(message) for message in messages],
            lambda kept: self.template.prompt_ids(self.tokenizer, kept, tools=tools),
            room,
        )
        if len(fitted.token_ids) > room:
            raise UserError(
                f"{len(fitted.token_ids)} tokens of the last question and {max_tokens} of a completion do not fit in "
                f"the context of {self.context_length}: set a smaller train.objective.max_tokens, or skip such "
                "examples with --skip-bad"
            )
        return fitted

    def delimited(self, texts: Sequence[str]) -> tuple[Encoded, int]:
        """Texts between special tokens (Radford et al. 2018, figure 1): start, text, delimiter, text, extract; trained
        on the tokens of the texts. If they are too long, the longest text loses its end; and how many tokens that
        are."""
        control, separator = self.tokenizer.special_tokens, self.tokenizer.eos_token_id
        between, extract = control.get(TURN_START, separator), control.get(TURN_END, separator)
        encoded = [self.tokenizer.encode(text) for text in texts]
        num_tokens, room = sum(map(len, encoded)), self.context_length - len(encoded) - 1
        while sum(map(len, encoded)) > room:
            longest = max(encoded, key=len)
            shorter = max(map(len, (text for text in encoded if text is not longest)), default=0)
            too_many = sum(map(len, encoded)) - room
            del longest[max(len(longest) - too_many, min(shorter, len(longest) - 1)) :]
        ids, trained = [separator], [False]
        for text in encoded:
            ids += [*text, between]
            trained += [*[True] * len(text), False]
        ids[-1] = extract
        return Encoded(ids, trained), num_tokens - sum(map(len, encoded))
