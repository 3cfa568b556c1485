"""Classification of a text or a pair: the prediction is the label whose name has the highest likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from gptsmith.base.errors import DataError, did_you_mean
from gptsmith.data.examples import ExampleReading, NamedRecord, example_of, named_records, shape_of
from gptsmith.data.readers import ReadSettings
from gptsmith.data.shapes.labelled import LabelledExample, labels_of
from gptsmith.data.skipped import Skipping
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.evaluate.statistics import confusion_matrix, macro_f1, mean
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings, malformed_record

TITLES = {"text": ("Text",), "entailment": ("Premise", "Hypothesis"), "similarity": ("First", "Second")}


class ClassificationSettings(TaskSettings):
    """Accuracy, macro F1 and the confusion matrix of labels."""

    kind: Literal["classification"] = "classification"
    fields: ClassVar[str] = "label, with text; premise, hypothesis; or sentence1, sentence2"
    label_names: dict[str, str] = Field(default_factory=dict)
    """The name of a label for the prompt, if the label itself says little: `label_names.0=negative`."""

    def read(self, sources: Sequence[str | Path], reading: ReadSettings, skipping: Skipping) -> list[Example]:
        labelled = []
        for record in named_records(sources, ExampleReading(reading)):
            with skipping.at(record.place):
                labelled.append(self._labelled(record))
        if not labelled:
            return []
        labels = labels_of(labelled)
        if unknown := [label for label in self.label_names if label not in labels]:
            raise DataError(f"label_names.{unknown[0]}: no example has that label ({did_you_mean(unknown[0], labels)})")
        return [self._example(example, labels) for example in labelled]

    def _labelled(self, record: NamedRecord) -> LabelledExample:
        if record.problem is None and shape_of(record.fields) != "labelled":
            raise malformed_record(record.original, self.fields)
        example = cast(LabelledExample, example_of(record, "labelled"))
        if example.form not in TITLES:
            raise DataError("it has choices of its own: use --task multiple_choice")
        return example

    def _example(self, example: LabelledExample, labels: Sequence[str]) -> Example:
        titles = TITLES[example.form]
        names = tuple(self.label_names.get(label, label) for label in labels)
        lines = "\n".join(f"{title}: {text}" for title, text in zip(titles, example.texts, strict=True))
        question = f"{lines}\n\nWhich label is right: {', '.join(names[:-1])} or {names[-1]}?"
        gold = labels.index(str(example.label))
        return Example(example.place, Prompt(f"{lines}\nLabel:", (user(question),)), names[gold], names, gold)

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[list[ContinuationScore]]:
        questions = [(prompt, example.choices) for prompt, example in zip(prompts, examples, strict=True)]
        return model.score_choices(questions, observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[list[ContinuationScore]]) -> TaskResult:
        labels = examples[0].choices
        true = np.array([example.gold for example in examples])
        predicted = np.array([np.argmax([choice.log_likelihood for choice in scored]) for scored in predictions])
        commonest = np.full_like(true, Counter(true.tolist()).most_common(1)[0][0])
        metrics = [
            Metric.proportion("accuracy", true == predicted, mean(true == commonest)),
            Metric(
                "macro_f1", np.stack([true, predicted], axis=1), macro_f1, macro_f1(np.stack([true, commonest], axis=1))
            ),
        ]
        counts = confusion_matrix(metrics[1].outcomes, len(labels))
        return TaskResult(metrics, {"labels": list(labels), "confusion_matrix": counts.tolist()})
