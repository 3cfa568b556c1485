"""The kinds of task: examples with known answers, a model's predictions, and the metrics of those.

Contract: `example(fields, place)` is the example that a record holds; a task that makes its own overrides `examples`.
`predict(model, examples, prompts)` are a model's predictions; `aggregate(examples, predictions)` are their metrics,
each with the baseline of guessing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.base.kinds import Kinds
from gptsmith.base.randomness import derived_seed
from gptsmith.base.settings import Settings
from gptsmith.data.examples import no_examples, records
from gptsmith.data.fields import plain_fields
from gptsmith.data.readers import ReadSettings
from gptsmith.data.skipped import Skipped, Skipping
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt

MAX_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Example:
    """A question with its right answer.

    Attributes:
        place: where a person finds it, such as `questions.jsonl, line 7`.
        prompt: the question.
        answer: the right answer, as a model should write it.
        choices: the possible answers; empty if any text can be one.
        gold: the number of the right choice.
    """

    place: str
    prompt: Prompt
    answer: str
    choices: tuple[str, ...] = ()
    gold: int = 0


@dataclass(frozen=True)
class TaskExamples:
    """The examples of a task.

    Attributes:
        scored: those that models are scored on.
        shots: those that may stand, with their answers, before another one (few-shot).
        skipped: the records of which none could be made.
    """

    scored: list[Example]
    shots: list[Example]
    skipped: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True)
class TaskResult:
    """How a model does in a task.

    Attributes:
        metrics: accuracy and the like, each over all examples.
        details: further results, as JSON values.
    """

    metrics: list[Metric]
    details: dict[str, Any] = field(default_factory=dict)


class TaskSettings(Settings):
    """Base class of every kind of task."""

    kind: str
    fields: ClassVar[str] = ""
    """The fields of its records, for a person who has others."""

    def examples(
        self,
        sources: Sequence[str | Path],
        *,
        seed: int,
        limit: int | None = None,
        reading: ReadSettings | None = None,
        skip_bad: bool = False,
    ) -> TaskExamples:
        """The examples in some files. All of them are shots too; with `limit`, so many that the seed draws are scored,
        in the files' order.

        Args:
            reading: how the files are read; as usual if None.
            skip_bad: whether records of which no example can be made are skipped, instead of stopping at the first.

        Raises:
            DataError: there are no files, a record cannot be used (the message has its place), or none is left.
        """
        if not sources:
            raise DataError(f"--task {self.kind} needs files of examples; their records have {self.fields}")
        skipping = Skipping(skip_bad)
        found = self.read(sources, reading or ReadSettings(), skipping)
        if not found:
            raise no_examples(sources, skipping.skipped)
        if limit is None or limit >= len(found):
            return TaskExamples(found, found, skipping.skipped)
        generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "limit")))
        drawn = [found[number] for number in sorted(generator.permutation(len(found))[:limit])]
        return TaskExamples(drawn, found, skipping.skipped)

    def read(self, sources: Sequence[str | Path], reading: ReadSettings, skipping: Skipping) -> list[Example]:
        """All examples of some files, in order."""
        found = []
        for path, record in records(sources, reading):
            place, fields = f"{path}, {record.place}", plain_fields(record.fields)
            with skipping.at(place):
                if record.problem is not None:
                    raise DataError(record.problem)
                try:
                    found.append(self.example(fields, place))
                except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
                    raise malformed_record(fields, self.fields) from None
        return found

    def example(self, fields: Mapping[str, Any], place: str) -> Example:
        """The example that a record holds; the fields have plain names.

        Raises:
            UserError: there is none; the message says why, without the place.
            KeyError, IndexError, TypeError, AttributeError, StopIteration: the record lacks the fields of the task.
        """
        raise NotImplementedError(f"the task {self.kind} reads no records")

    @abstractmethod
    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[Any]:
        """A model's prediction for each prompt: an example's own, or one with few-shot examples before it."""

    @abstractmethod
    def aggregate(self, examples: Sequence[Example], predictions: Sequence[Any]) -> TaskResult:
        """The metrics of those predictions."""


def malformed_record(fields: Mapping[str, Any], wanted: str) -> DataError:
    """The error for a record that lacks the fields of its task; it shows the record."""
    shown = json_text(dict(fields), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    return DataError(f"expected {wanted}: {shown}")


KINDS = Kinds(__name__, TaskSettings)
