"""How sure the model was: surprisal, rank, and what else it could have written."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from gptsmith.explain.claim import Claim, Item
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
        return [
            Claim(self.kind, _sentence(question, logs[question.target].item(), rank_of(question)), items, rest=rest)
        ]


def rank_of(question: Question, token: int | None = None) -> int:
    """The rank of the target, or of another token, among all tokens: 1 for the most probable."""
    logits = question.logits
    return 1 + int((logits > logits[question.target if token is None else token]).sum())


def _sentence(question: Question, log_probability: float, rank: int) -> str:
    """How sure the model was, for people."""
    percent = 100 * math.exp(log_probability)
    bits = -log_probability / math.log(2)
    shown = f"{percent:.0f}" if percent >= 1.5 else f"{percent:.2g}"
    place = "its first choice" if rank == 1 else f"its choice number {rank}"
    target = quoted(question.text_of(question.target))
    return f"The model gave {target} {shown} in 100: {place}, a surprise of {bits:.1f} bits."
