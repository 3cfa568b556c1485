"""A dataset of rollouts: prompts, to which the model samples groups of completions that a function rewards."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast, overload

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.generate.api import generate, generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.sharding import unsharded
from gptsmith.text.chat_template import Encoded
from gptsmith.text.tool_calls import answer_text
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import SAMPLE_TOKENS, Dataset, DatasetInputs, PreviewedExample, Reward, Score
from gptsmith.train.datasets.encoded import EncodedSamples, encode_splits
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.reference import ReferenceModel
from gptsmith.train.datasets.rows import epoch_order
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.samples import Sample, padded

VALIDATION_PROMPTS = 256
"""How many prompts get a completion in an evaluation during training."""


@dataclass(frozen=True, kw_only=True)
class RolloutBatch(Batch):
    """Prompts with completions that the model sampled (B, T), and for each of their N tokens, row by row:"""

    advantages: Tensor
    """(N), how much better than its group the completion is that the token belongs to."""
    old_log_likelihoods: Tensor
    """(N), the token's log-likelihood under the model that sampled it."""
    reference_log_likelihoods: Tensor | None = None
    """(N), that under the reference model; None if kl_coef is 0."""


class RolloutObjective(ObjectiveSettings):
    """An objective that learns from rewards of sampled completions."""

    group_size: int = Field(default=8, ge=2)
    """Completions sampled per prompt."""
    max_resamples: int = Field(default=0, ge=0)
    """How many other prompts are tried in place of one whose completions all have the same reward, which gives no
    gradient (dynamic sampling, Yu et al. 2025)."""
    max_tokens: int = Field(default=64, gt=0)
    """Maximum number of tokens per completion."""
    temperature: float = Field(default=1.0, gt=0)
    """The sampling temperature."""
    kl_coef: float = Field(default=0.02, ge=0)
    """The weight of the KL divergence from the reference model; 0 skips the forward pass of that model."""

    @property
    def uses_reference_model(self) -> bool:
        return True

    @abstractmethod
    def advantages(self, rewards: Tensor) -> Tensor:
        """How much better than its group each completion is, from rewards (prompts, group_size), which are NaN for
        completions that have none: 0 if nothing is learnt from it."""


@dataclass(frozen=True)
class Prompt:
    """The ids of a prompt, and the example that it is of.

    Attributes:
        num_omitted: the oldest turns of the conversation that were left out, because the context has no room for them.
    """

    example: ChatExample
    ids: list[int]
    num_omitted: int


class Prompts(Sequence[Prompt]):
    """The prompts of a split, which are read when they are asked for."""

    def __init__(self, samples: EncodedSamples, examples: Sequence[Example]) -> None:
        self.samples, self._examples = samples, examples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, number: int) -> Prompt: ...
    @overload
    def __getitem__(self, number: slice) -> list[Prompt]: ...
    def __getitem__(self, number: int | slice) -> Prompt | list[Prompt]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        sample = self.samples[number]
        example = cast(ChatExample, self._examples[self.samples.example_number(number)])
        return Prompt(example, list(sample.sequences[0].ids), sample.num_omitted)


@dataclass(frozen=True)
class Group:
    """The ids of a prompt and of the completions sampled to it, and the advantage of each completion."""

    prompt: list[int]
    completions: list[list[int]]
    advantages: list[float]


class RolloutDataset(Dataset):
    """Prompts in an order that is shuffled anew in every epoch; the batch of a prompt holds a group of completions that
    the model samples at that moment."""

    evaluates_by_sampling = True

    def __init__(self, objective: RolloutObjective, inputs: DatasetInputs, reward: Reward) -> None:
        super().__init__()
        self.objective, self.encoder, self.splits, self.seed = objective, inputs.encoder, inputs.splits, inputs.seed
        self.encoding = Encoding(inputs.encoder, inputs.skip_bad)
        by_split = (self.splits.train, self.splits.validation, self.splits.test)
        encoded = encode_splits(objective, self.encoding, self.splits, self._samples)
        self.train, self.validation, self.test = map(Prompts, encoded, by_split)
        if not self.train:
            raise UserError(f"none of the {len(self.splits.train):,} examples can be learnt from")
        self.reward = reward
        self.reference = ReferenceModel(inputs) if objective.kl_coef else None
        self.seen: Counter[str] = Counter()
        """Groups and completions since the last figures, and how many of them taught nothing."""
        self.has_rewarded = False
        self.num_samples = len(self.train)
        self.tokens_per_sample = objective.group_size * objective.max_tokens
        self.num_validation_tokens, self.num_test_tokens = (
            len(prompts) * objective.max_tokens for prompts in (self.validation, self.test)
        )

    def _samples(self, example: Example) -> list[Sample]:
        """An example's prompt as a sample of which nothing is trained."""
        chat = cast(ChatExample, example)
        fitted = self.encoder.prompt(chat.messages[:-1], self.objective.max_tokens, chat.tools)
        untrained = Encoded(fitted.token_ids, [False] * len(fitted.token_ids))
        return [Sample(example.place, [untrained], num_omitted=fitted.num_omitted)]

    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        samples = range(first_sample, first_sample + num_samples)
        starts = range(0, num_samples, micro_batch_size)
        writer = unsharded(model)  # processes write for different times
        micro_batches = [self.groups(writer, samples[start : start + micro_batch_size]) for start in starts]
        del writer
        return [self._batch(model, groups) for groups in micro_batches]

    @property
    def longest_sample(self) -> int:
        return self.objective.group_size * (int(self.train.samples.lengths.max()) + self.objective.max_tokens)

    def groups(self, model: GPT, samples: Sequence[int]) -> list[Group]:
        """A group of completions per sample: of its prompt, or, if nothing is learnt from those, of the first of
        `max_resamples` other prompts from which something is."""
        groups = self._sampled(model, samples)
        for attempt in range(1, self.objective.max_resamples + 1):
            idle = [place for place, group in enumerate(groups) if not any(group.advantages)]
            if not idle:
                break
            # The prompts at the same places in the order of a later epoch.
            others = self._sampled(model, [samples[place] + attempt * self.num_samples for place in idle])
            for place, other in zip(idle, others, strict=True):
                groups[place] = other
        self.seen["groups"] += len(groups)
        self.seen["idle_groups"] += sum(not any(group.advantages) for group in groups)
        return groups

    def step_figures(self, processes: Processes = SINGLE_PROCESS) -> dict[str, float]:
        """The shares of groups that taught nothing, because their completions have the same reward, and of completions
        that got no reward."""
        names = ("groups", "idle_groups", "completions", "unrewarded")
        groups, idle, completions, unrewarded = processes.all_reduce_sum([self.seen[name] for name in names])
        self.seen.clear()
        return {"idle_group_fraction": idle / groups, "unrewarded_fraction": unrewarded / completions} if groups else {}

    def _sampled(self, model: GPT, samples: Sequence[int]) -> list[Group]:
        """A group of completions of each sample's prompt, with their advantages."""
        count = self.objective.group_size
        prompts = [self._prompt(sample) for sample in samples]
        seeds = [derived_seed(self.seed, "answer", sample, number) for sample in samples for number in range(count)]
        completions = self._completions(
            model, [prompt.ids for prompt in prompts for _ in range(count)], seeds, self.objective.temperature
        )
        rewards = self._rewards([prompt.example for prompt in prompts for _ in range(count)], completions)
        self.seen["completions"] += len(rewards)
        self.seen["unrewarded"] += sum(map(math.isnan, rewards))
        advantages = self.objective.advantages(torch.tensor(rewards, dtype=torch.float64).view(-1, count)).tolist()
        return [
            Group(prompt.ids, completions[number * count : (number + 1) * count], advantages[number])
            for number, prompt in enumerate(prompts)
        ]

    def _batch(self, model: GPT, groups: Sequence[Group]) -> RolloutBatch:
        """The groups as a batch, with log-likelihoods under the model that sampled them and the reference model."""
        sequences = [
            Encoded([*group.prompt, *completion], [False] * len(group.prompt) + [True] * len(completion))
            for group in groups
            for completion in group.completions
        ]
        input_ids, targets = (tensor.to(model.device) for tensor in padded(sequences))
        of_reference = None
        with torch.no_grad():
            rows, old = model.token_log_likelihoods(model.hidden(input_ids), targets)
            if self.reference is not None:
                of_reference = self.reference.token_log_likelihoods(model, input_ids, targets)
        advantages = [advantage for group in groups for advantage in group.advantages]
        of_rows = torch.tensor(advantages, dtype=old.dtype, device=old.device)
        return RolloutBatch(
            input_ids,
            targets,
            advantages=of_rows[rows],
            old_log_likelihoods=old,
            reference_log_likelihoods=of_reference,
        )

    def _completions(
        self, model: GPT, prompts: Sequence[list[int]], seeds: Sequence[int], temperature: float
    ) -> list[list[int]]:
        """The ids of a completion of each prompt, with the token that ended it."""
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
        return self.encoder.tokenizer.decode(ids, begins=False)

    def _rewards(self, examples: Sequence[ChatExample], completions: Sequence[list[int]]) -> list[float]:
        """The reward of each completion, to the example at its place; NaN for completions that get none.

        Raises:
            UserError: the reward function fails on one, or has never given a reward; the message names the example.
        """
        texts = [self._text(ids) for ids in completions]
        rewards = [self._reward(example, text) for example, text in zip(examples, texts, strict=True)]
        self.has_rewarded = self.has_rewarded or not all(map(math.isnan, rewards))
        if rewards and not self.has_rewarded:
            raise UserError(
                f"none of {len(rewards)} completions got a reward: the reward function returns None or NaN for all of "
                f"them, such as {texts[0]!r} to {examples[0].place}"
            )
        return rewards

    def _reward(self, example: ChatExample, completion: str) -> float:
        """The reward of a completion; NaN if it gets none.

        Raises:
            UserError: the reward function fails on it, or returns no finite number; the message names the example.
        """
        try:
            reward = self.reward(example.messages[:-1], completion, answer_text(example.messages[-1]))
            number = math.nan if reward is None else float(reward)
        except Exception as error:
            raise UserError(
                f"the reward function fails on {example.place} ({type(error).__name__}: {error}); "
                f"the completion was {completion!r}"
            ) from None
        if math.isinf(number):
            raise UserError(
                f"the reward function returns {number} on {example.place}; the completion was {completion!r}: return "
                "a finite number, or None to leave the completion out of its group"
            )
        return number

    def _prompt(self, sample: int) -> Prompt:
        epoch, place = divmod(sample, self.num_samples)
        return self.train[epoch_order(self.seed, epoch, self.num_samples)[place]]

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        prompts = self.validation[: None if max_tokens is None else VALIDATION_PROMPTS]
        reward = self._mean_reward(model, prompts, processes)
        whole = len(prompts) == len(self.validation)
        return Score({"validation_loss": -reward, "reward": reward}, len(prompts) * self.objective.max_tokens, whole)

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """The mean reward of greedy completions of the test split's prompts."""
        if not self.test:
            return {}
        return {"test_reward": self._mean_reward(model, self.test), "num_test_examples": len(self.test)}

    def _mean_reward(self, model: GPT, prompts: Sequence[Prompt], processes: Processes = SINGLE_PROCESS) -> float:
        model, prompts = unsharded(model), prompts[processes.rank :: processes.world_size]
        completions = self._completions(model, [prompt.ids for prompt in prompts], [0] * len(prompts), temperature=0.0)
        rewards = self._rewards([prompt.example for prompt in prompts], completions)
        known = [reward for reward in rewards if not math.isnan(reward)]
        total, count = processes.all_reduce_sum([sum(known), len(known)])
        return total / count if count else math.nan

    def sample(self, model: GPT, seed: int) -> str:
        prompt = (self.validation or self.train)[0]
        answer = generate(model, self.encoder.tokenizer, prompt.ids, max_tokens=SAMPLE_TOKENS, seed=seed, slide=True)
        return "".join(chain([prompt.example.messages[-2]["content"], " → "], answer))

    def origin(self, first_sample: int, num_samples: int) -> str:
        prompts = map(self._prompt, range(first_sample, first_sample + num_samples))
        return "; ".join(prompt.example.place for prompt in prompts)

    def description(self) -> list[str]:
        skipped = self.splits.skipped + self.encoding.skipped
        held_back = f"{len(self.validation):,} to validate, {len(self.test):,} to test"
        prompts = (
            f"prompts: {len(self.train):,} to train with {self.objective.group_size} completions each, {held_back}"
        )
        return [prompts, *self.encoding.lines(), *self.splits.notes, *skipped.lines()]

    def account(self) -> Encoding:
        return self.encoding

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        return [
            PreviewedExample(prompt.example.place, [Encoded(prompt.ids, [False] * len(prompt.ids))])
            for prompt in self.train[:num_examples]
        ]
