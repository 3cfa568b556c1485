"""Learning from rewards: GRPO (Shao et al. 2024, equation 3), the last stage of how ChatGPT was made, without a critic.

A group of completions is sampled per prompt; the advantage of a completion is its reward less the group's mean, over
the group's standard deviation.
"""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.rollouts import RolloutBatch, RolloutDataset, RolloutObjective
from gptsmith.train.objectives import Term
from gptsmith.train.rewards import reward_of


class GrpoSettings(RolloutObjective):
    """-min(r A, clip(r) A) + kl_coef KL, with r the ratio of a token's probability to that when it was sampled."""

    kind: Literal["grpo"] = "grpo"
    shapes: ClassVar[tuple[str, ...]] = ("chat",)
    usual_learning_rate: ClassVar[float] = 1e-5
    usual_lora_learning_rate: ClassVar[float] = 5e-5
    clip_range: float = Field(default=0.2, gt=0, lt=1)
    """The clipping range: r is clipped to 1 +- clip_range."""
    reward: str = "number"
    """The reward of a completion: number (its last number is that of the reference answer), exact (it is the
    reference answer), contains (it contains it), pattern:REGEX (it matches), the folder of a reward model, or
    FILE.py:FUNCTION, which gets the messages, the completion and the reference answer, and returns a number, or None
    to leave the completion out of its group."""

    def dataset(self, inputs: DatasetInputs) -> RolloutDataset:
        return RolloutDataset(self, inputs, inputs.reward or reward_of(self.reward, inputs.locate))

    def advantages(self, rewards: Tensor) -> Tensor:
        return advantages(rewards)

    def counts(self, batch: Batch) -> dict[str, int]:
        terms = (self.kind, "kl", "clip_ratio") if self.kl_coef else (self.kind, "clip_ratio")
        return dict.fromkeys(terms, batch.num_tokens)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        rollout, count = cast(RolloutBatch, batch), batch.num_tokens
        _, log_likelihoods = model.token_log_likelihoods(model.hidden(batch.input_ids), batch.targets)
        ratio = (log_likelihoods - rollout.old_log_likelihoods).exp()
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gain = torch.minimum(ratio * rollout.advantages, clipped * rollout.advantages)
        terms = {
            self.kind: Term(-gain.sum(), count),
            "clip_ratio": Term((ratio != clipped).sum(), count, weight=0.0),
        }
        if self.kl_coef:
            assert rollout.reference_log_likelihoods is not None, "the dataset runs the reference model"
            log_ratio = rollout.reference_log_likelihoods - log_likelihoods
            # Schulman 2020: unbiased, never below 0.
            terms["kl"] = Term((log_ratio.exp() - log_ratio - 1).sum(), count, self.kl_coef)
        return terms


def advantages(rewards: Tensor) -> Tensor:
    """The advantage of each completion in its group, from rewards (prompts, group_size): 0 if all are equal. One whose
    reward is NaN counts for nothing, and its advantage is 0."""
    centred = rewards - rewards.nanmean(dim=1, keepdim=True)
    deviation = centred.square().nanmean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation > 0, centred / deviation.clamp(min=1e-6), 0.0).nan_to_num(nan=0.0)
