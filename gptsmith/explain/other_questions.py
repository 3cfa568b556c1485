"""Questions whose answer is no single token: a whole reply, or the score of a classifier or a reward model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from gptsmith.explain.claim import Choice
from gptsmith.explain.question import Question, quoted


@dataclass(frozen=True, eq=False)
class ReplyQuestion(Question):
    """Why the model writes a whole reply, which ends in `target`: F is the sum of ln p of its tokens."""

    has_tokens: ClassVar[bool] = False

    @property
    def num_read(self) -> int:
        return len(self.reply_ids) + 1

    @torch.inference_mode()
    def measure(self, states: Tensor) -> Tensor:
        targets = torch.tensor([*self.reply_ids, self.target], device=states.device)
        found = []
        for row in states:  # the logits of all rows at once would be too large
            logits = self.model.logits(row)
            logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
            found.append(logs.gather(1, targets[:, None]).sum())
        return torch.stack(found)

    def require_difference(self, offer: str = "") -> None:
        pass  # any probability of a reply can be explained

    @property
    def target_choice(self) -> Choice:
        text = self.tokenizer.decode([*self.reply_ids, self.target], begins=False)
        return Choice(self.target, text, math.exp(self.difference), None)

    @property
    def against_choice(self) -> Choice | None:
        return None

    @property
    def subject(self) -> str:
        return "it wrote this reply"

    def state(self, difference: float) -> str:
        return f"the reply has a log-probability of {difference:.1f} nats"


@dataclass(frozen=True, eq=False)
class ScoreQuestion(Question):
    """Why a classifier gives the label `target` and not `against`: F is the difference of their scores. With one score,
    of a reward model, F is that score.

    Attributes:
        labels: the names of the labels; none of a reward model.
    """

    labels: tuple[str, ...] = ()

    has_tokens: ClassVar[bool] = False

    @torch.inference_mode()
    def measure(self, states: Tensor) -> Tensor:
        scores = self.model.scores(states[:, -1])  # (N, num_labels)
        if scores.shape[1] == 1:
            return scores[:, 0]
        return scores[:, self.target] - scores[:, self.against]

    def text_of(self, target: int) -> str:
        return self.labels[target] if self.labels else "the score"

    def require_difference(self, offer: str = "") -> None:
        if self.labels:
            super().require_difference(offer)

    @cached_property
    @torch.inference_mode()
    def _scores(self) -> Tensor:
        return self.model.scores(self._reader.last_states([self.ids])[0, 0])

    def choice(self, token: int) -> Choice:
        if not self.labels:
            return Choice(0, f"{float(self._scores[0]):.3f}", None, None)
        rank = 1 + int((self._scores > self._scores[token]).sum())
        return Choice(token, self.labels[token], float(self._scores.softmax(dim=-1)[token]), rank)

    @property
    def against_choice(self) -> Choice | None:
        return self.choice(self.against) if self.labels else None

    @property
    def subject(self) -> str:
        if not self.labels:
            return "it gave this score"
        return f"it chose {quoted(self.text_of(self.target))} rather than {quoted(self.text_of(self.against))}"

    def state(self, difference: float) -> str:
        return super().state(difference) if self.labels else f"the score is {difference:.2f}"
