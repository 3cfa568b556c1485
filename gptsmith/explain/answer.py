"""An answer of a model, and the questions that can be asked about it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.other_questions import ReplyQuestion
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import LEAST_DIFFERENCE, Question, quoted
from gptsmith.explain.reading import Observe, Reader, seen_by_nobody
from gptsmith.explain.units import token_starts
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

OFFERED = 3
"""How many other contrasts are offered in place of one that is too close."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A reply of a model to a prompt.

    Attributes:
        model: the model that answered, as an engine runs it.
        tokenizer: its tokenizer.
        prompt: the prompt.
        ids: the tokens of the reply.
        held_out_ids: tokens of other text (see `gptsmith.explain.own_text`).
        observe: sees how many changed contexts have been read (see `Question`).
    """

    model: GPT
    tokenizer: Tokenizer
    prompt: Prompt
    ids: tuple[int, ...]
    held_out_ids: tuple[int, ...] = ()
    observe: Observe = seen_by_nobody

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: there is no reply.
        """
        if not self.ids:
            raise UserError("the reply is empty, so that there is no word to explain: give one with --reply TEXT")

    @cached_property
    def text(self) -> str:
        """The reply."""
        return self.tokenizer.decode(self.ids, begins=False)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The characters of the reply that each of its tokens begins and ends with."""
        starts = token_starts(self.text, self.ids, self.tokenizer, keep_special=False)
        return list(zip(starts, [*starts[1:], len(self.text)], strict=True))

    @cached_property
    def surprisals(self) -> list[float]:
        """-ln p of each token of the reply, as far as the model's context goes."""
        room = self.model.config.context_length - len(self.prompt.ids) + 1
        if room < 1:
            raise UserError(
                f"the prompt of {len(self.prompt.ids):,} tokens does not fit in the model's context of "
                f"{self.model.config.context_length:,}: shorten it"
            )
        seen = self.ids[:room]
        context = (*self.prompt.ids, *seen[:-1])
        states = Reader(self.model, context).last_states([context], len(seen))[0]
        found: list[float] = []
        for some, targets in zip(torch.split(states, 64), torch.split(torch.tensor(seen), 64), strict=True):
            with torch.inference_mode():
                logs = self.model.logits(some).float().log_softmax(dim=-1)
            found += (-logs.gather(1, targets[:, None].to(logs.device))[:, 0]).tolist()
        return found

    def least_sure(self) -> int:
        """The place of the token in the reply that the model was least sure of; of those with a letter or a digit."""
        shown = [place for place in range(len(self.surprisals)) if self._is_shown(place)]
        return max(shown or range(len(self.surprisals)), key=self.surprisals.__getitem__)

    def _is_shown(self, place: int) -> bool:
        start, stop = self.spans[place]
        return self.ids[place] not in self.tokenizer.special_ids and any(map(str.isalnum, self.text[start:stop]))

    def token_of_word(self, number: int) -> int:
        """The place of the first token of a word of the reply, counted from 1.

        Raises:
            UserError: the reply has no such word.
        """
        words = list(re.finditer(r"\S+", self.text))
        if not 1 <= number <= len(words):
            raise UserError(f"word {number}: the reply has {len(words)} words, counted from 1: {quoted(self.text)}")
        return self.token_at(words[number - 1].start())

    def token_at(self, character: int) -> int:
        """The place of the token that a character of the reply is in.

        Raises:
            UserError: the reply has no such character.
        """
        if not 0 <= character < len(self.text):
            raise UserError(f"character {character} is not in the reply, which has {len(self.text)}, counted from 0")
        return next(place for place, (_, stop) in enumerate(self.spans) if character < stop)

    def question(self, place: int, against: str | None = None, *, num_claims: int = 1, seed: int = 0) -> Question:
        """The question why the token at a place of the reply was written and not another one: the most probable other
        that is not too close if none is given.

        Raises:
            UserError: the context is too long, the other token is the same, or is so close that there is next to
                nothing to explain.
        """
        asked = Question(
            self.model, self.tokenizer, self.prompt, self.ids[place], self.ids[place], self.ids[:place],
            self.held_out_ids, num_claims, seed, self.observe,
        )  # fmt: skip
        far = self._contrasts(asked)
        if against is None:
            if not far:
                raise UserError(
                    "all other tokens are too close to what was written to be a contrast: name a word to compare with"
                )
            return asked.compared_with(far[0])
        contrast = asked.compared_with(self._token(against, asked.target))
        if abs(contrast.difference) < LEAST_DIFFERENCE:
            offered = " or ".join(quoted(asked.text_of(token)) for token in far)
            contrast.require_difference(f": compare with {offered} instead")
        return contrast

    def _contrasts(self, asked: Question) -> list[int]:
        """The most probable other tokens whose logits are not too close to the target's."""
        is_far = (asked.logits[asked.target] - asked.logits).abs() >= LEAST_DIFFERENCE
        is_far[asked.target] = False
        top = asked.logits.masked_fill(~is_far, -math.inf).topk(min(OFFERED, len(is_far))).indices.tolist()
        return [token for token in top if is_far[token]]

    def _token(self, text: str, target: int) -> int:
        """The first token of a text that might have stood at the target's place: with a space before it where only then
        it is a token.

        Raises:
            UserError: the text has no token, or begins with the target.
        """
        spelt = [self.tokenizer.encode_inside(each) for each in (text, f" {text.lstrip()}")]
        if not spelt[0]:
            raise UserError("against: give the word that it did not write")
        begins_word = self.tokenizer.decode([target], keep_special=True, begins=False).startswith(" ")
        chosen = spelt[1] if begins_word or (len(spelt[1]) == 1 < len(spelt[0])) else spelt[0]
        if chosen[0] == target:
            written = quoted(self.tokenizer.decode([target], begins=False))
            raise UserError(
                f"against {text!r}: this begins with {written}, which is what was written: name another word"
            )
        return chosen[0]

    def whole_question(self, *, num_claims: int = 1, seed: int = 0) -> ReplyQuestion:
        """The question why the reply was written as it is."""
        return ReplyQuestion(
            self.model, self.tokenizer, self.prompt, self.ids[-1], self.ids[-1], self.ids[:-1], self.held_out_ids,
            num_claims, seed, self.observe,
        )  # fmt: skip
