"""Steering: the mean difference between two kinds of text, added to the residual stream (Turner et al. 2023; Rimsky et
al. 2024), with what it does to text and, beside it, to the loss on held-out text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.explain.claim import Claim, Item
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.parts import patched_differences
from gptsmith.explain.question import Question, quoted
from gptsmith.explain.testing import RANDOM_CHOICES, compared, verdict_on
from gptsmith.generate.api import generate
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.taps import record, tapped

HELD_OUT_TOKENS = 512


class SteeringSettings(MethodSettings):
    """The residual stream moved from one kind of text towards another."""

    kind: Literal["steering"] = "steering"
    toward: list[str] = Field(default_factory=list)
    """Texts of the kind to steer towards."""
    away: list[str] = Field(default_factory=list)
    """Texts of the other kind."""
    layer: int | None = Field(default=None, ge=0)
    """The block behind which the difference is added; the middle one if None."""
    strength: float = 1.0
    """How many times the difference is added; negative in the other direction."""
    max_tokens: int = Field(default=40, gt=0)
    """Tokens of the texts that are shown."""

    def explain(self, question: Question) -> list[Claim]:
        question.require_tokens("steering")
        model = question.model
        name = f"blocks.{model.config.num_layers // 2 if self.layer is None else self.layer}.output"
        direction = self.strength * difference_of_means(question, name, self.toward, self.away)
        changes = self._changes(question, name, direction)
        test = compared("moved", 1, changes)
        verdict = verdict_on([test], question.num_claims)
        with tapped(model, {name: partial(torch.add, other=direction)}) as steered:
            losses = held_out_loss(question, model), held_out_loss(question, steered)
            texts = [self._written(question, each) for each in (model, steered)]
        items = [Item(texts[0], 0.0, is_named=False), Item(texts[1], changes[0], part=name)]
        loss = (
            "" if losses[0] is None else f" Its loss on held-out text: {losses[0]:.2f} before, {losses[1]:.2f} after."
        )
        where = f"Moved behind block {name.split('.')[1]}"
        instead = "as before" if texts[0] == texts[1] else f"instead of {quoted(texts[0])}"
        says = f"{where}, it writes {quoted(texts[1])} {instead}.{loss}"
        why = (
            f"Tested: as long a step in {test.num_random} random directions changes the answer by "
            f"{test.random_interval[0]:+.2f} to {test.random_interval[1]:+.2f} nats, this one by {test.change:+.2f}."
        )
        return [Claim(self.kind, says, items, verdict, why, test, [test])]

    def _changes(self, question: Question, name: str, direction: Tensor) -> list[float]:
        """The size of the change of the difference by this direction, then by random ones of its length."""
        generator = torch.Generator().manual_seed(question.seed)
        random = torch.randn(RANDOM_CHOICES * question.num_claims, len(direction), generator=generator).to(direction)
        random *= direction.norm() / random.norm(dim=1, keepdim=True)
        stream = record(question.model, torch.tensor([question.ids], device=direction.device), [name])[name][0]
        patches = [{name: stream + added} for added in (direction, *random)]
        return [abs(found - question.difference) for found in patched_differences(question, patches)]

    def _written(self, question: Question, model: GPT) -> str:
        sampling = SamplingSettings(temperature=0)
        return "".join(generate(model, question.tokenizer, question.ids, max_tokens=self.max_tokens, sampling=sampling))


def difference_of_means(question: Question, name: str, toward: Sequence[str], away: Sequence[str]) -> Tensor:
    """The mean state (C) at a tap over the tokens of some texts, less that of others. The first token of a text, whose
    state is often of another size than all others, is left out.

    Raises:
        UserError: one of them has no text, or there is no such tap.
    """
    if not toward or not away:
        raise UserError(
            "steering: this needs texts of two kinds, which Python alone can give: "
            "SteeringSettings(toward=[...], away=[...]).explain(question)"
        )
    means = []
    for texts in (toward, away):
        ids = [question.tokenizer.prompt_ids(text) for text in texts]
        states = [
            record(question.model, torch.tensor([row], device=question.model.device), [name])[name][0] for row in ids
        ]
        means.append(torch.stack([state[min(1, len(state) - 1) :].mean(dim=0) for state in states]).mean(dim=0))
    return means[0] - means[1]


@torch.inference_mode()
def held_out_loss(question: Question, model: GPT) -> float | None:
    """The loss on held-out text, in nats per token; None if there is none."""
    ids = question.held_out_ids[: min(HELD_OUT_TOKENS, model.config.context_length)]
    if len(ids) < 2:
        return None
    row = torch.tensor([ids], device=model.device)
    return float(model.cross_entropy(model.hidden(row[:, :-1]), row[:, 1:])) / (len(ids) - 1)
