"""Multiple choice: the prediction is the choice with the highest likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from gptsmith.base.errors import DataError
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings, malformed_record

ANSWER_FIELDS = ("answer", "label")


class MultipleChoiceSettings(TaskSettings):
    """Accuracy by the log-likelihood of the choice, and by that per character, as in EleutherAI's lm-eval."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    fields: ClassVar[str] = (
        "question, choices (a list), and answer (or label): the choice's number from 0, its letter or its text"
    )

    def example(self, fields: Mapping[str, Any], place: str) -> Example:
        question, choices = fields.get("question"), fields.get("choices")
        answer = next((fields[name] for name in ANSWER_FIELDS if fields.get(name) is not None), None)
        if not isinstance(question, str) or not isinstance(choices, list) or answer is None:
            raise malformed_record(fields, self.fields)
        texts = tuple(str(choice).strip() for choice in choices)
        if len(texts) < 2 or not all(texts) or len(set(texts)) < len(texts):
            raise DataError(f"its choices are {list(texts)}: give two or more, none empty and no two the same")
        gold = _number_of(answer, texts)
        if gold is None:
            raise DataError(
                f"the answer {answer!r} is none of its {len(texts)} choices: give the number of one from 0, "
                "its letter or its text"
            )
        return Example(place, Prompt.from_messages([user(question)]), texts[gold], texts, gold)

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[list[ContinuationScore]]:
        questions = [(prompt, example.choices) for prompt, example in zip(prompts, examples, strict=True)]
        return model.score_choices(questions, observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[list[ContinuationScore]]) -> TaskResult:
        guessing = float(np.mean([1 / len(example.choices) for example in examples]))
        correct: dict[str, list[bool]] = {"accuracy": [], "normalized_accuracy": []}
        for example, scored in zip(examples, predictions, strict=True):
            plain = np.array([choice.log_likelihood for choice in scored])
            lengths = np.array([len(choice) for choice in example.choices])
            correct["accuracy"].append(plain.argmax() == example.gold)
            correct["normalized_accuracy"].append((plain / lengths).argmax() == example.gold)
        return TaskResult([Metric.proportion(name, np.array(found), guessing) for name, found in correct.items()])


def _number_of(answer: Any, choices: Sequence[str]) -> int | None:
    """The number of the choice that an answer names; None if it names none. A choice's text takes precedence."""
    text = str(answer).strip()
    if isinstance(answer, str) and text in choices:
        return choices.index(text)
    if text.isdecimal():
        number = int(text)
    elif len(text) == 1 and "A" <= text.upper() <= "Z":
        number = ord(text.upper()) - ord("A")
    else:
        return None
    return number if number < len(choices) else None
