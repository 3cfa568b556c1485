"""The contract of a dataset: what a trainer needs of the data, whatever that is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.prepare import PreparedData
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.text.chat_template import Encoded, Message
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.encoder import Encoder

Reward = Callable[[Sequence[Message], str, str], float | None]
"""The reward of a completion, given the conversation before it, the completion, and the reference answer. None or NaN
leaves the completion out of its group."""
SAMPLE_TOKENS = 60
"""Of the text that is sampled during training."""


@dataclass(frozen=True)
class DatasetInputs:
    """The data and the model that fine-tuning starts from."""

    model: GPT
    """The model before training: also the reference model."""
    encoder: Encoder
    splits: ExampleSplits
    """The examples; none if the data is plain text."""
    text: PreparedData | None
    """Plain text in the model's tokens; None if the data are examples."""
    seed: int
    skip_bad: bool = False
    """Whether examples that cannot be learnt from are skipped, instead of stopping at the first."""
    cache_key: str = ""
    """The same for the same model, data and dtype: what the reference model says is cached under it."""
    reward: Reward | None = None
    """The reward of completions, instead of the one that the objective names."""
    locate: Callable[[str], str] = str
    """A path that the objective names, as it can be opened now."""
    is_shared: bool = False
    """Whether the model stays as it is, because shards that are made of it are trained in its place."""


@dataclass(frozen=True)
class Score:
    """How well a model does on validation data."""

    figures: dict[str, float]
    """`validation_loss`, which training is to lower, and what else is known, such as `bits_per_byte` or `accuracy`."""
    num_tokens: int
    """The number of tokens that were read for it."""
    is_whole: bool
    """Whether that was all of the validation data."""

    @property
    def validation_loss(self) -> float:
        return self.figures["validation_loss"]


@dataclass(frozen=True)
class PreviewedExample:
    """An example as a model will see it."""

    place: str
    sequences: list[Encoded]
    label: str | None = None


@dataclass(frozen=True)
class KnownText:
    """A text that a model knew before training, to measure how much of it is forgotten."""

    name: str
    bits_per_byte: Callable[[GPT], float]
    """How well a model predicts the text."""
    before: float
    """The bits per byte of the model before training."""
    seconds: float = 0.0
    """The time that it took to measure that."""

    def figures(self, model: GPT) -> dict[str, Any]:
        """The name of the text, and its bits per byte before training and now."""
        return {
            "general_text": self.name,
            "general_bits_per_byte_before": self.before,
            "general_bits_per_byte": self.bits_per_byte(model),
        }


@dataclass(frozen=True)
class KeptAnswers:
    """How many of a base's answers its tuned model would still give."""

    num_answers: int
    num_kept: int
    agreement: float
    """The fraction of the tokens of all answers that are still the first choice."""

    @property
    def fraction(self) -> float:
        return self.num_kept / self.num_answers


@dataclass(frozen=True)
class KnownAnswers:
    """The answers of a model before training, to measure how many of them are lost."""

    name: str
    """The prompts in a word: `questions`, or `beginnings` of a text."""
    kept: Callable[[GPT], KeptAnswers]

    def figures(self, model: GPT) -> dict[str, Any]:
        """The name of the prompts, how many there are, and how many a model answers as before training."""
        kept = self.kept(model)
        return {
            "general_prompts": self.name,
            "num_general_answers": kept.num_answers,
            "num_general_answers_kept": kept.num_kept,
            "general_answer_agreement": kept.agreement,
        }


class Dataset(ABC):
    """Samples in a fixed order, and a validation split.

    Attributes:
        num_samples: samples in an epoch.
        tokens_per_sample: of the average sample.
        num_validation_tokens: 0 if there is no validation data.
        num_test_tokens: 0 if there is no test data.
        longest_sample: tokens of the longest sample.
        evaluates_by_sampling: whether an evaluation has the model write, token by token.
        final_evaluations: what else is measured of the trained model, each once, at the end.
        known_text: a text that the model knew before training; None if forgetting is not measured.
        known_answers: the model's answers before training; None if they are not compared.
    """

    num_samples: int
    tokens_per_sample: float
    num_validation_tokens: int
    num_test_tokens: int = 0
    evaluates_by_sampling: ClassVar[bool] = False

    def __init__(self) -> None:
        self.final_evaluations: list[Callable[[GPT], dict[str, Any]]] = []
        self.known_text: KnownText | None = None
        self.known_answers: KnownAnswers | None = None

    @abstractmethod
    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        """The micro-batches of some samples; which samples is a pure function of the seed and their numbers.

        Args:
            processes: those that read the other samples of the step at the same time; all must call.
        """

    @property
    def longest_sample(self) -> int:
        return math.ceil(self.tokens_per_sample)

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        """The tokens of some samples of the order."""
        return num_samples * self.tokens_per_sample

    @abstractmethod
    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        """How well a model does on the validation data, or on about `max_tokens` of it."""

    def step_figures(self, processes: Processes = SINGLE_PROCESS) -> dict[str, float]:
        """Figures of the samples that were read since this was last called, for the log; empty if there are none.

        Args:
            processes: those that read others of these samples; all must call.
        """
        return {}

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """How well a model does on the test split; empty if there is none."""
        return {}

    @abstractmethod
    def sample(self, model: GPT, seed: int) -> str:
        """A text that a model writes now, for a person to see; empty if it does not write."""

    @abstractmethod
    def origin(self, first_sample: int, num_samples: int) -> str:
        """Where a person finds what some samples were made of."""

    @abstractmethod
    def description(self) -> list[str]:
        """Lines that say what was read."""

    def account(self) -> Encoding | None:
        """What became of the examples on their way to tokens; None if the data is plain text."""
        return None

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        """The first examples of the train split.

        Raises:
            UserError: the data is plain text.
        """
        raise UserError("a preview shows examples, and this data is plain text: every token of it is trained")

    def final_figures(self, model: GPT) -> dict[str, Any]:
        """The figures of the final evaluations of the trained model."""
        return {name: value for evaluate in self.final_evaluations for name, value in evaluate(model).items()}
