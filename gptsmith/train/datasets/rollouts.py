"""Learning from rewards: prompts to which the model draws answers, which are worth what a function says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.generate.api import generate, generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import token_log_likelihoods
from gptsmith.run.distributed import ALONE, Processes
from gptsmith.text.chat_template import Encoded
from gptsmith.train.datasets.base import Score, TrainingSet
from gptsmith.train.datasets.examples import SAMPLE_TOKENS, epoch_order
from gptsmith.train.objectives import Batch
from gptsmith.train.objectives.grpo import GrpoSettings, RolloutBatch, advantages
from gptsmith.train.rewards import Reward
from gptsmith.train.samples import Encoder, padded

VALIDATION_PROMPTS = 256
"""How many prompts are answered for an evaluation in between."""


@dataclass(frozen=True)
class Group:
    """The ids of a prompt and of the answers drawn to it, and how much better than the others each answer is."""

    prompt: list[int]
    answers: list[list[int]]
    advantages: list[float]


class RolloutSet(TrainingSet):
    """A sample is a prompt; its batch holds a group of answers that the model draws at that moment."""

    def __init__(
        self, objective: GrpoSettings, encoder: Encoder, parts: ExampleSplits, model: GPT, reward: Reward, *, seed: int
    ) -> None:
        super().__init__()
        self.objective, self.encoder, self.parts, self.reward, self.seed = objective, encoder, parts, reward, seed
        self.reference = copy.deepcopy(model).eval().requires_grad_(False)
        self.num_samples = len(parts.train)
        self.tokens_per_sample = objective.group_size * objective.max_tokens
        self.num_validation_tokens = len(parts.validation) * objective.max_tokens

    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        samples = range(first_sample, first_sample + num_samples)
        return [
            self._batch(model, self._groups(model, samples[start : start + micro_batch_size]))
            for start in range(0, num_samples, micro_batch_size)
        ]

    def _groups(self, model: GPT, samples: Sequence[int]) -> list[Group]:
        """The answers to each sample's prompt; or to the first of `max_resamples` others from which something is
        learnt, where nothing is from its own."""
        groups = self._drawn(model, samples)
        for attempt in range(1, self.objective.max_resamples + 1):
            idle = [place for place, group in enumerate(groups) if not any(group.advantages)]
            if not idle:
                break
            # The prompts at the same places in the order of a later epoch.
            others = self._drawn(model, [samples[place] + attempt * self.num_samples for place in idle])
            for place, other in zip(idle, others, strict=True):
                groups[place] = other
        return groups

    def _drawn(self, model: GPT, samples: Sequence[int]) -> list[Group]:
        """The answers to each sample's prompt, and what they are worth."""
        count = self.objective.group_size
        examples = [self._example(sample) for sample in samples]
        prompts = [self.prompt(example) for example in examples]
        seeds = [derived_seed(self.seed, "answer", sample, number) for sample in samples for number in range(count)]
        answers = self._answers(
            model, [prompt for prompt in prompts for _ in range(count)], seeds, self.objective.temperature
        )
        worth = [self._worth(examples[number // count], text) for number, text in enumerate(map(self._text, answers))]
        better = advantages(torch.tensor(worth, dtype=torch.float64).view(-1, count)).tolist()
        return [
            Group(prompt, answers[number * count : (number + 1) * count], better[number])
            for number, prompt in enumerate(prompts)
        ]

    def _batch(self, model: GPT, groups: Sequence[Group]) -> RolloutBatch:
        """The answers as a batch, with their likelihoods to the model that drew them and to that before training."""
        sequences = [
            Encoded([*group.prompt, *answer], [False] * len(group.prompt) + [True] * len(answer))
            for group in groups
            for answer in group.answers
        ]
        input_ids, targets = (tensor.to(model.device) for tensor in padded(sequences))
        before = None
        with torch.no_grad():
            rows, drawn = token_log_likelihoods(model.hidden(input_ids), model.head_weight, targets)
            if self.objective.kl_coef:
                reference = self.reference.to(model.device)
                reference.compute_dtype = model.compute_dtype
                _, before = token_log_likelihoods(reference.hidden(input_ids), reference.head_weight, targets)
        better = [advantage for group in groups for advantage in group.advantages]
        of_rows = torch.tensor(better, dtype=drawn.dtype, device=drawn.device)
        return RolloutBatch(input_ids, targets, advantages=of_rows[rows], drawn=drawn, reference=before)

    def _answers(
        self, model: GPT, prompts: Sequence[list[int]], seeds: Sequence[int], temperature: float
    ) -> list[list[int]]:
        """An answer's ids to each prompt, with the token that ended it."""
        completions = generate_batch(
            model,
            self.encoder.tokenizer,
            prompts,
            max_tokens=self.objective.max_tokens,
            sampling=SamplingSettings(temperature=temperature),
            seeds=seeds,
        )
        return [each.ids if each.end_id is None else [*each.ids, each.end_id] for each in completions]

    def _text(self, ids: list[int]) -> str:
        return self.encoder.tokenizer.decode(ids)

    def _worth(self, example: ChatExample, answer: str) -> float:
        """The reward of an answer.

        Raises:
            UserError: the reward function fails on it; the message names the example.
        """
        try:
            return float(self.reward(example.messages[:-1], answer, example.messages[-1]["content"]))
        except Exception as error:
            raise UserError(
                f"the reward function fails on {example.place} ({type(error).__name__}: {error}); "
                f"the answer was {answer!r}"
            ) from None

    def _example(self, sample: int) -> ChatExample:
        epoch, place = divmod(sample, self.num_samples)
        return cast(ChatExample, self.parts.train[epoch_order(self.seed, epoch, self.num_samples)[place]])

    def prompt(self, example: ChatExample) -> list[int]:
        """The ids of what is asked.

        Raises:
            UserError: they leave no room for an answer.
        """
        ids = self.encoder.template.prompt_ids(self.encoder.tokenizer, example.messages[:-1])
        if len(ids) + self.objective.max_tokens > self.encoder.context_length:
            raise UserError(
                f"{example.place}: a prompt of {len(ids)} tokens and an answer of {self.objective.max_tokens} do not "
                f"fit in the context of {self.encoder.context_length}: set a smaller train.objective.max_tokens"
            )
        return ids

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = ALONE,
    ) -> Score:
        examples = self.parts.validation[: None if max_tokens is None else VALIDATION_PROMPTS]
        reward = self._mean_reward(model, cast(list[ChatExample], examples))
        whole = len(examples) == len(self.parts.validation)
        return Score({"validation_loss": -reward, "reward": reward}, len(examples) * self.objective.max_tokens, whole)

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """The mean reward of the surest answers to the prompts that judge."""
        examples = cast(list[ChatExample], self.parts.test)
        if not examples:
            return {}
        return {"test_reward": self._mean_reward(model, examples), "num_test_examples": len(examples)}

    def _mean_reward(self, model: GPT, examples: Sequence[ChatExample]) -> float:
        prompts = [self.prompt(example) for example in examples]
        answers = self._answers(model, prompts, [0] * len(prompts), temperature=0.0)
        worth = [self._worth(example, self._text(ids)) for example, ids in zip(examples, answers, strict=True)]
        return sum(worth) / max(len(worth), 1)

    def sample(self, model: GPT, seed: int) -> str:
        question = cast(ChatExample, (self.parts.validation or self.parts.train)[0]).messages[:-1]
        prompt_ids = self.encoder.template.prompt_ids(self.encoder.tokenizer, question)
        answer = generate(model, self.encoder.tokenizer, prompt_ids, max_tokens=SAMPLE_TOKENS, seed=seed)
        return "".join(chain([question[-1]["content"], " → "], answer))

    def origin(self, first_sample: int, num_samples: int) -> str:
        return "; ".join(self._example(sample).place for sample in range(first_sample, first_sample + num_samples))

    def description(self) -> list[str]:
        counts = f"{len(self.parts.validation):,} to validate, {len(self.parts.test):,} to judge by"
        return [f"prompts: {len(self.parts.train):,} to train with {self.objective.group_size} answers each, {counts}"]
