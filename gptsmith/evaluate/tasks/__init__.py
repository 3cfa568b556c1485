"""The kinds of task: examples with known answers, a model's predictions, and the metrics of those.

Contract: `examples(sources, split)` are the examples of a split; `predict(model, examples, prompts)` are a model's
predictions; `aggregate(examples, predictions)` are their metrics, each with the baseline of guessing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gptsmith.base.errors import DataError, UserError
from gptsmith.base.json_text import json_text
from gptsmith.base.kinds import Kinds
from gptsmith.base.randomness import derived_seed
from gptsmith.base.settings import Settings
from gptsmith.data.examples import records
from gptsmith.data.fields import plain_fields
from gptsmith.data.readers import ReadSettings
from gptsmith.data.records import require_readable
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
        split: str,
        *,
        seed: int,
        limit: int | None = None,
        reading: ReadSettings | None = None,
    ) -> list[Example]:
        """The examples in some files, or `limit` of them that the seed draws, in the files' order.

        Args:
            split: `test` for the examples that are scored, `train` for few-shot examples. A file is both.
            reading: how the files are read; as usual if None.

        Raises:
            DataError: there are no files, or a record lacks the fields of the task.
        """
        if not sources:
            raise DataError(f"--task {self.kind} needs files of examples; their records have {self.fields}")
        found = self.read(sources, reading or ReadSettings())
        if limit is None or limit >= len(found):
            return found
        generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "limit")))
        return [found[number] for number in sorted(generator.permutation(len(found))[:limit])]

    @abstractmethod
    def read(self, sources: Sequence[str | Path], reading: ReadSettings) -> list[Example]:
        """All examples of some files, in order."""

    @abstractmethod
    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[Any]:
        """A model's prediction for each prompt: an example's own, or one with few-shot examples before it."""

    @abstractmethod
    def aggregate(self, examples: Sequence[Example], predictions: Sequence[Any]) -> TaskResult:
        """The metrics of those predictions."""


def records_of(sources: Sequence[str | Path], reading: ReadSettings) -> list[tuple[str, dict[str, Any]]]:
    """The fields of every record in some files, and where it stands.

    Raises:
        DataError: a file cannot be read, or there are no records.
    """
    found = []
    for path, record in records(sources, reading):
        require_readable(path, record)
        found.append((f"{path}, {record.place}", plain_fields(record.fields)))
    if not found:
        raise DataError(
            f"{', '.join(map(str, sources))}: no records in it (allowed: .jsonl, .json, .csv, .tsv, .parquet)"
        )
    return found


def malformed_record(place: str, fields: Mapping[str, Any], wanted: str) -> UserError:
    """The error for a record that lacks the fields of its task; it shows the record."""
    shown = json_text(dict(fields), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    return UserError(f"{place} is {shown}: expected {wanted}")


KINDS = Kinds(__name__, TaskSettings)
