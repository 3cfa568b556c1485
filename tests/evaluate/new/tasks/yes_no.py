"""Yes-or-no questions, answered by the likelier of the two words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings

CHOICES = ("no", "yes")


class YesNoSettings(TaskSettings):
    """Accuracy of answers to yes-or-no questions."""

    kind: Literal["yes_no"] = "yes_no"
    fields: ClassVar[str] = "question and answer, true or false"

    def example(self, fields: Mapping[str, Any], place: str) -> Example:
        prompt = Prompt.from_messages([user(fields["question"])])
        return Example(place, prompt, CHOICES[fields["answer"]], CHOICES, int(fields["answer"]))

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[list[ContinuationScore]]:
        return model.score_choices([(prompt, CHOICES) for prompt in prompts], observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[list[ContinuationScore]]) -> TaskResult:
        chosen = np.array([np.argmax([choice.log_likelihood for choice in choices]) for choices in predictions])
        gold = np.array([example.gold for example in examples])
        return TaskResult([Metric.proportion("accuracy", chosen == gold, 0.5)])
