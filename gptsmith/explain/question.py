"""A question about a model's answer: why this token and not that one?"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.claim import Choice
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.reading import Observe, Reader, seen_by_nobody
from gptsmith.explain.units import Unit, units_of
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

LEAST_DIFFERENCE = 0.1
"""Nats: of two tokens that are closer, any explanation is of noise."""


@dataclass(frozen=True, eq=False)
class Question:
    """Why the model writes `target` and not `against` after a prompt and the beginning of a reply.

    F, the difference to explain, is the logit of the target less that of the contrast, in nats: the logarithm of how
    many times as probable the one is as the other.

    Attributes:
        model: the model that answered, as an engine runs it.
        tokenizer: its tokenizer.
        prompt: the prompt.
        reply_ids: the tokens of the reply before the target.
        target: the token that it wrote.
        against: the token that it did not write.
        held_out_ids: tokens of other text, which replace parts of the prompt; the prompt's own if there are none.
        num_claims: how many claims about this question are tested, so that the chance that any of them holds by luck
            stays the same.
        seed: of all random choices.
        observe: called with how many changed contexts have been read, and how many are to be read so far.
    """

    model: GPT
    tokenizer: Tokenizer
    prompt: Prompt
    target: int
    against: int
    reply_ids: tuple[int, ...] = ()
    held_out_ids: tuple[int, ...] = field(default=(), repr=False)
    num_claims: int = 1
    seed: int = 0
    observe: Observe = field(default=seen_by_nobody, repr=False)

    has_tokens: ClassVar[bool] = True
    """Whether the target is one token, so that logits and directions of the head are those of the answer."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The context after which the model answered: the prompt and the reply before the target."""
        return (*self.prompt.ids, *self.reply_ids)

    @property
    def num_prompt_ids(self) -> int:
        return len(self.prompt.ids)

    def units(self, by: str = "words") -> list[Unit]:
        """The parts of the prompt: `sentences`, `words` or `tokens` of what a person wrote. What a chat template put
        around it is not among them."""
        return units_of(self.prompt.passages, self.tokenizer, by)

    @cached_property
    def difference(self) -> float:
        """F of the prompt as it is."""
        return float(self.differences([self.prompt.ids])[0])

    def differences(self, prompts: Iterable[Sequence[int]]) -> Tensor:
        """F after each of N changed prompts, (N), float32 or finer, on the CPU. They are read in batches of bounded
        memory."""
        rows = [(*(prompt or self.tokenizer.prompt_ids("")), *self.reply_ids) for prompt in prompts]
        return self.measure(self._reader.last_states(rows, self.num_read)).cpu() if rows else torch.empty(0)

    def without(self, units: Iterable[Unit]) -> tuple[int, ...]:
        """The prompt without some of its parts."""
        gone = {place for unit in units for place in unit.places}
        return tuple(number for place, number in enumerate(self.prompt.ids) if place not in gone)

    def with_only(self, units: Collection[Unit]) -> tuple[int, ...]:
        """The prompt with some parts of what a person wrote alone, and what a template put around it."""
        kept = {place for unit in units for place in unit.places}
        return self.without(unit for unit in self.units("tokens") if kept.isdisjoint(unit.places))

    def replaced(self, units: Iterable[Unit], generator: torch.Generator) -> tuple[int, ...]:
        """The prompt with each of some parts replaced by as many tokens that stand together in the held-out text."""
        ids, others = list(self.prompt.ids), self.held_out_ids or self.prompt.ids
        for unit in units:
            size = unit.last - unit.first
            start = int(torch.randint(max(1, len(others) - size + 1), (), generator=generator))
            ids[unit.first : unit.last] = [others[(start + step) % len(others)] for step in range(size)]
        return tuple(ids)

    @cached_property
    def logits(self) -> Tensor:
        """The logits (V) after the context, float32 or finer."""
        self.require_tokens("logits")
        with torch.inference_mode():
            logits = self.model.logits(self._reader.last_states([self.ids])[0, 0])
            return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def compared_with(self, against: int) -> Question:
        """The same question with another contrast."""
        other = replace(self, against=against)
        known = {name: value for name, value in self.__dict__.items() if name in ("_reader", "logits")}
        other.__dict__.update(known)  # nothing is read twice
        return other

    def choice(self, token: int) -> Choice:
        """A token with its probability and rank."""
        rank = 1 + int((self.logits > self.logits[token]).sum())
        return Choice(token, self.text_of(token), float(self.logits.softmax(dim=-1)[token]), rank)

    @property
    def target_choice(self) -> Choice:
        """The target, for the explanation."""
        return self.choice(self.target)

    @property
    def against_choice(self) -> Choice | None:
        """The contrast, for the explanation; None if there is none."""
        return self.choice(self.against)

    def require_tokens(self, method: str) -> None:
        """
        Raises:
            UserError: the answer is no token.
        """
        if not self.has_tokens:
            raise UserError(
                f"{method}: only for a token that a model writes; use leave_one_out for a score or a whole reply"
            )

    def require_difference(self, offer: str = "") -> None:
        """
        Raises:
            UserError: the target and the contrast are so close that an explanation would be of noise.
        """
        if abs(self.difference) < LEAST_DIFFERENCE:
            target, other = quoted(self.text_of(self.target)), quoted(self.text_of(self.against))
            raise UserError(
                f"{target} and {other} differ by {self.difference:+.2f} nats, which is next "
                f"to nothing to explain (at least {LEAST_DIFFERENCE}){offer}"
            )

    def text_of(self, target: int) -> str:
        """A token as text."""
        return self.tokenizer.decode([target], keep_special=True, begins=False)

    @property
    def subject(self) -> str:
        """What the model did, in words: wrote this rather than that."""
        return f"it wrote {quoted(self.text_of(self.target))} rather than {quoted(self.text_of(self.against))}"

    def state(self, difference: float) -> str:
        """A difference in words that need no logarithm."""
        target, other = quoted(self.text_of(self.target)), quoted(self.text_of(self.against))
        return f"{target} is {relative_odds(difference)} {other}"

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.model, self.ids, self.observe)

    @property
    def num_read(self) -> int:
        """How many of the last hidden states F is read from."""
        return 1

    @torch.inference_mode()
    def measure(self, states: Tensor) -> Tensor:
        """F of the last hidden states (N, num_last, C)."""
        logits = self.model.logits(states[:, -1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits[:, self.target] - logits[:, self.against]


def quoted(text: str) -> str:
    """A text in quotation marks: words without the white space around them, long texts cut."""
    shown = text.strip() or repr(text)[1:-1]
    return f'"{shown if len(shown) <= 60 else shown[:57] + "..."}"'


def relative_odds(difference: float) -> str:
    """A difference of logarithms in words: `12 times as probable as`, `5 times less probable than`."""
    if abs(difference) < math.log(1.05):
        return "about as probable as"
    ratio = math.exp(min(abs(difference), 7.0))
    shown = "over 1,000" if abs(difference) > 6.9 else f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
    return f"{shown} times as probable as" if difference > 0 else f"{shown} times less probable than"
