"""Texts of examples to token sequences that fit in a model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.text.chat_template import ChatTemplate, Encoded, Message
from gptsmith.text.tokenizer import TURN_END, TURN_START, Tokenizer


@dataclass(frozen=True)
class Encoder:
    """Encodes the texts of an example as token ids that fit in a model's context."""

    tokenizer: Tokenizer
    template: ChatTemplate
    context_length: int

    def conversation(self, messages: Sequence[Message], *, only_last: bool = False) -> Encoded:
        """A conversation, trained on the assistant's turns; with `only_last` on the last of them alone.

        Raises:
            UserError: it is longer than the context, so that its answer would be cut off.
        """
        encoded = self.template.encode(self.tokenizer, messages, only_last=only_last)
        if len(encoded.ids) > self.context_length:
            raise UserError(
                f"{len(encoded.ids)} tokens do not fit in the context of {self.context_length}, "
                "so that its answer would be cut off: shorten it, or skip such examples with --skip-bad"
            )
        return encoded

    def delimited(self, texts: Sequence[str]) -> Encoded:
        """Texts between special tokens (Radford et al. 2018, figure 1): start, text, delimiter, text, extract; trained
        on the tokens of the texts. If they are too long, the longest text loses its end."""
        control, separator = self.tokenizer.special_tokens, self.tokenizer.eos_token_id
        between, extract = control.get(TURN_START, separator), control.get(TURN_END, separator)
        encoded = [self.tokenizer.encode(text) for text in texts]
        room = self.context_length - len(encoded) - 1
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
        return Encoded(ids, trained)
