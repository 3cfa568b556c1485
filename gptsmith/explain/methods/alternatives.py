"""How sure the model was: surprisal, rank, and the other tokens that it could have written."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from gptsmith.explain.claim import Choice, Claim, Item
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.question import Question, quoted


class AlternativesSettings(MethodSettings):
    """The most probable tokens at the target's place, with their log-probabilities before any setting of sampling."""

    is_tested: ClassVar[bool] = False

    kind: Literal["alternatives"] = "alternatives"
    num_alternatives: int = Field(default=8, gt=0, le=1000)
    """The number of tokens shown."""

    def explain(self, question: Question) -> list[Claim]:
        if not question.has_tokens:
            return []
        logs = question.logits.log_softmax(dim=-1)
        top = logs.topk(min(self.num_alternatives, len(logs))).indices.tolist()
        shown = [*top, *(token for token in (question.target, question.against) if token not in top)]
        items = [
            Item(question.text_of(token), float(logs[token]), is_named=token == question.target) for token in shown
        ]
        rest = 1 - sum(math.exp(item.change) for item in items)
        return [Claim(self.kind, _sentence(question.choice(question.target), items[0]), items, rest=rest)]


def _sentence(target: Choice, first: Item) -> str:
    """How sure the model was, for people."""
    probability = target.probability or 0.0
    bits = -math.log2(probability) if probability > 0 else math.inf
    percent = f"{100 * probability:.0f}" if probability >= 0.015 else f"{100 * probability:.2g}"
    place = "its first choice" if target.rank == 1 else f"its choice number {target.rank:,}"
    said = f"The model gave {quoted(target.text)} {percent} in 100: {place}, a surprise of {bits:.1f} bits."
    return (
        said if target.rank == 1 else f"{said} Chance took it in sampling; its first choice was {quoted(first.text)}."
    )
