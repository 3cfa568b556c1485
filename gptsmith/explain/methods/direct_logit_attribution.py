"""What each part of the network wrote towards the answer: the last residual stream is a sum, and so is the difference.

Every norm is frozen at the scale that it has for this context. The sum is then exact for every placement of norms, also
for GPT-1's, which rescale the stream in every block (Elhage et al. 2021, A Mathematical Framework for Transformer
Circuits). It says what a part wrote itself, not what later parts made of it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gptsmith.explain.attribution import direct_contributions
from gptsmith.explain.claim import HOLDS, Claim, Item
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.naming import important
from gptsmith.explain.parts import part_text, parts_of, try_network_parts
from gptsmith.explain.question import Question
from gptsmith.explain.wording import joined


class DirectLogitAttributionSettings(MethodSettings):
    """The difference as a sum over heads, feed-forward halves, embedding, positions and biases, each norm frozen."""

    kind: Literal["direct_logit_attribution"] = "direct_logit_attribution"

    def explain(self, question: Question) -> list[Claim]:
        question.require_tokens("direct_logit_attribution")
        contributions = direct_contributions(question)
        parts = parts_of(question.model)
        changes = np.array([contributions[part] for part in parts])
        named = important(changes, question.num_claims)
        outcome = try_network_parts(question, parts, named)
        chosen = {parts[number] for number in named}
        items = [
            Item(
                part_text(part),
                change,
                part=part if part in parts or part == "embedding" else None,
                is_named=part in chosen,
            )
            for part, change in contributions.items()
        ]
        rest = question.difference - sum(contributions[part] for part in chosen)
        return [
            Claim(
                self.kind, _says(question, [part_text(part) for part in chosen], outcome.verdict == HOLDS, rest), items,
                outcome.verdict, outcome.why, outcome.hardest, outcome.tests, rest=rest,
            )
        ]  # fmt: skip


def _says(question: Question, parts: list[str], holds: bool, rest: float) -> str:
    """The claim for people: of cause only if it holds."""
    figures = f"they wrote {question.difference - rest:+.2f} of {question.difference:+.2f} nats themselves"
    if not parts:
        return f"No head and no feed-forward half spoke for the answer itself: {question.subject} all the same."
    if holds:
        return f"Because of {joined(parts)} {question.subject}: {figures}."
    are = "are" if len(parts) > 1 else "is"
    return f"{joined(parts).capitalize()} {are} associated with the answer ({question.subject}): {figures}."
