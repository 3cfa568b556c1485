"""Yes-or-no questions, answered by the likelier of the two words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from gptsmith.data.readers import ReadSettings
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings, records_of

CHOICES = ("no", "yes")


class YesNoSettings(TaskSettings):
    """Accuracy of answers to yes-or-no questions."""

    kind: Literal["yes_no"] = "yes_no"
    fields: ClassVar[str] = "question and answer, true or false"

    def read(self, sources: Sequence[str | Path], reading: ReadSettings) -> list[Example]:
        return [
            Example(
                place,
                Prompt.from_messages([user(fields["question"])]),
                CHOICES[fields["answer"]],
                CHOICES,
                int(fields["answer"]),
            )
            for place, fields in records_of(sources, reading)
        ]

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[list[ContinuationScore]]:
        return model.score_choices([(prompt, CHOICES) for prompt in prompts], observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[list[ContinuationScore]]) -> TaskResult:
        chosen = np.array([np.argmax([choice.log_likelihood for choice in choices]) for choices in predictions])
        gold = np.array([example.gold for example in examples])
        return TaskResult([Metric.proportion("accuracy", chosen == gold, 0.5)])
