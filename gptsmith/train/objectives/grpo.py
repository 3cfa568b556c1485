"""Learning from rewards: GRPO (Shao et al. 2024, equation 3), the last part of how ChatGPT was made, without a critic.

A group of answers is drawn to each prompt; an answer is worth its reward less the group's mean, over the group's
deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import token_log_likelihoods
from gptsmith.train.objectives import Batch, ObjectiveSettings, Term


@dataclass(frozen=True, kw_only=True)
class RolloutBatch(Batch):
    """Prompts with answers that the model drew (B, T), and for each of the N tokens that are asked for, row by row:"""

    advantages: Tensor
    """(N), how much better than its group the answer is that the token stands in."""
    drawn: Tensor
    """(N), the token's log-likelihood to the model that drew it."""
    reference: Tensor | None = None
    """(N), that to the model before training, where it is held there."""


class GrpoSettings(ObjectiveSettings):
    """-min(r A, clip(r) A) + kl_coef KL, with r how much likelier a token is than when it was drawn."""

    kind: Literal["grpo"] = "grpo"
    group_size: int = Field(default=8, ge=2)
    """Answers drawn to each prompt."""
    max_resamples: int = Field(default=0, ge=0)
    """How many other prompts are tried in place of one whose answers are all worth the same: nothing is learnt from
    those (Yu et al. 2025, dynamic sampling)."""
    max_tokens: int = Field(default=64, gt=0)
    """The longest answer."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draw."""
    clip_range: float = Field(default=0.2, gt=0, lt=1)
    """How far r counts on either side of 1."""
    kl_coef: float = Field(default=0.02, ge=0)
    """How strongly the model is held where it was before training; 0 spares reading each answer with that model."""
    reward: str = "number"
    """What an answer is rewarded for: number (the last number is that of the true answer), exact (it is the true
    answer), contains (it holds it), pattern:REGEX (it matches), the folder of a reward model, or FILE.py:FUNCTION,
    which gets the messages, the answer and the true answer."""

    @property
    def compares(self) -> bool:
        return True

    def counts(self, batch: Batch) -> dict[str, int]:
        terms = ("policy", "kl", "clipped") if self.kl_coef else ("policy", "clipped")
        return dict.fromkeys(terms, batch.num_tokens)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        rollout, count = cast(RolloutBatch, batch), batch.num_tokens
        _, now = token_log_likelihoods(model.hidden(batch.input_ids), model.head_weight, batch.targets)
        ratio = (now - rollout.drawn).exp()
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gain = torch.minimum(ratio * rollout.advantages, clipped * rollout.advantages)
        terms = {
            "policy": Term(-gain.sum(), count),
            "clipped": Term((ratio != clipped).sum(), count, weight=0.0),
        }
        if self.kl_coef:
            assert rollout.reference is not None, "the model before training has read the answers too"
            apart = rollout.reference - now
            # Schulman 2020: unbiased, never below 0.
            terms["kl"] = Term((apart.exp() - apart - 1).sum(), count, self.kl_coef)
        return terms


def advantages(rewards: Tensor) -> Tensor:
    """How much better than its group each answer is, from rewards (prompts, answers): zero where all are equal."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    deviation = rewards.std(dim=1, keepdim=True, correction=0)
    return torch.where(deviation > 0, centred / deviation.clamp(min=1e-6), 0.0)
