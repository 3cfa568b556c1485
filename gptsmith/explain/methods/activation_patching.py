"""What makes the difference between two prompts: the model reads one prompt with parts of its state from the other
(Vig et al. 2020; Meng et al. 2022). Exact: every part is tried by a forward pass of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.explain.claim import HOLDS, Claim, Item
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.naming import important
from gptsmith.explain.parts import Patch, part_text, parts_of, patched_differences
from gptsmith.explain.question import LEAST_DIFFERENCE, Question, quoted
from gptsmith.explain.testing import Choice, try_parts
from gptsmith.explain.wording import joined
from gptsmith.model.taps import record


class ActivationPatchingSettings(MethodSettings):
    """How much of the difference between the answers to two prompts comes with each head and feed-forward half, and
    after which block it has reached the last word."""

    kind: Literal["activation_patching"] = "activation_patching"
    other_ids: tuple[int, ...] = ()
    """The tokens of the other prompt, as many as those of the question's."""

    def explain(self, question: Question) -> list[Claim]:
        pair = PromptPair(question, self.other_ids)
        parts = parts_of(question.model)
        changes = np.array(pair.changes([[part] for part in parts]))
        named = important(changes, question.num_claims)

        def patched(choices: Sequence[Choice]) -> Sequence[float]:
            return pair.changes([[parts[number] for number in choice] for choice in choices])

        outcome = try_parts(
            {"put into the other prompt": patched}, len(parts), named, noun="parts of the network",
            num_claims=question.num_claims, seed=question.seed,
        )  # fmt: skip
        items = [
            Item(part_text(part), float(change), part=part, is_named=number in named)
            for number, (part, change) in enumerate(zip(parts, changes, strict=True))
        ]
        chosen = [parts[number] for number in named]
        rest = pair.gap - (pair.changes([chosen])[0] if chosen else 0.0)
        says = _says(pair, [part_text(part) for part in chosen], outcome.verdict == HOLDS)
        claim = Claim(self.kind, says, items, outcome.verdict, outcome.why, outcome.hardest, outcome.tests, rest=rest)
        return [claim, _arrival(self.kind, pair)]


class PromptPair:
    """A question and another prompt, into which states of the first are put.

    Attributes:
        question: as it was asked, or with target and contrast exchanged: the first prompt speaks for the target.
        start: F of the other prompt.
        gap: F of the question less that, above zero.

    Raises:
        UserError: there is no other prompt, the prompts have not as many tokens, or make no difference.
    """

    def __init__(self, question: Question, other_ids: tuple[int, ...]) -> None:
        question.require_tokens("activation_patching")
        if not other_ids:
            compare = shell_command("explain", "RUN", "PROMPT", "--between", "OTHER")
            raise UserError(f"activation_patching: this compares two prompts, and there is one: use {compare}")
        if len(other_ids) != question.num_prompt_ids:
            raise UserError(
                f"activation_patching: the prompts have {question.num_prompt_ids} and {len(other_ids)} tokens, and "
                "states can only be exchanged between as many: choose words of as many tokens, such as two names"
            )
        self.question, self._ids = question, (*other_ids, *question.reply_ids)
        self.start = self._differences([{}])[0]
        self.gap = question.difference - self.start
        if self.gap < 0:
            self.question = replace(question, target=question.against, against=question.target)
            self.start, self.gap = -self.start, -self.gap
        if self.gap < LEAST_DIFFERENCE:
            raise UserError(
                f"activation_patching: the two prompts differ by {self.gap:+.2f} nats in this, which is next to "
                f"nothing to explain (at least {LEAST_DIFFERENCE}): choose prompts that are answered otherwise"
            )

    def changes(self, choices: list[list[str]]) -> list[float]:
        """By how much F of the other prompt changes towards that of the question with each of some choices of taps from
        it, in nats: `gap` with all that matters, 0 with nothing."""
        names = sorted({name for choice in choices for name in choice})
        own = self._recorded(self.question.ids, names)
        return [found - self.start for found in self._differences([{name: own[name] for name in c} for c in choices])]

    def last_changes(self, names: list[str]) -> list[float]:
        """The same where each tap is patched at the last token alone."""
        own, others = (self._recorded(ids, names) for ids in (self.question.ids, self._ids))
        mixed = [{name: torch.cat((others[name][:-1], own[name][-1:]))} for name in names]
        return [found - self.start for found in self._differences(mixed)]

    def _recorded(self, ids: tuple[int, ...], names: list[str]) -> dict[str, Tensor]:
        model = self.question.model
        found = record(model, torch.tensor([ids], device=model.device), names)
        return {name: tensor[0] for name, tensor in found.items()}

    def _differences(self, patches: Sequence[Patch]) -> list[float]:
        return patched_differences(self.question, patches, self._ids)


def _arrival(kind: str, pair: PromptPair) -> Claim:
    """After which block the difference has reached the last token, whose whole state is put into the other prompt."""
    names = [f"blocks.{layer}.output" for layer in range(pair.question.model.config.num_layers)]
    changes = pair.last_changes(names)
    half = next((layer for layer, change in enumerate(changes) if change / pair.gap >= 0.5), len(names) - 1)
    items = [
        Item(part_text(name), change, part=name, is_named=layer == half)
        for layer, (name, change) in enumerate(zip(names, changes, strict=True))
    ]
    says = (
        f"At the last word, the state after {half + 1} of {len(names)} blocks carries "
        f"{100 * changes[half] / pair.gap:.0f} % of the difference: it is the first that carries half."
    )
    return Claim(kind, says, items, rest=pair.gap - changes[half])


def _says(pair: PromptPair, parts: list[str], holds: bool) -> str:
    """The claim for people: of cause only if it holds."""
    target, against = (quoted(pair.question.text_of(token)) for token in (pair.question.target, pair.question.against))
    figures = f"the first prompt speaks for {target} rather than {against} by {pair.gap:.2f} nats more than the second"
    if not parts:
        return f"No head and no feed-forward half carries a part of the difference alone ({figures})."
    if holds:
        return f"The difference is made by {joined(parts)}: {figures}."
    return (
        f"{joined(parts).capitalize()} {'are' if len(parts) > 1 else 'is'} associated with the difference: {figures}."
    )
