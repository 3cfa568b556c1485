"""Texts with labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.json_text import json_text
from gptsmith.data.shapes import Example, ExampleShape
from gptsmith.data.turns import text_of

TEXTS = {
    ("premise", "hypothesis"): "entailment",
    ("sentence1", "sentence2"): "similarity",
    ("text",): "text",
    ("sentence",): "text",
}
"""The fields of the texts, and the form of the example that they make."""


@dataclass(frozen=True)
class LabelledExample(Example):
    """Texts with a label: one text, a premise and a hypothesis, two sentences, or a question and its choices."""

    form: str
    """`text`, `entailment`, `similarity` or `choice`."""
    texts: tuple[str, ...]
    label: str | None
    """None if it is to be predicted."""

    def question(self) -> str:
        return json_text(self.texts)

    def question_texts(self) -> Iterator[str]:
        yield from self.texts

    def every_text(self) -> Iterator[str]:
        yield from self.texts

    def without_label(self) -> LabelledExample:
        """The same example, its label to be predicted."""
        return replace(self, label=None)


class LabelledShape(ExampleShape):
    """Texts with a label."""

    kind: Literal["labelled"] = "labelled"
    record_fields: ClassVar[str] = "label, with text; premise, hypothesis; sentence1, sentence2; or question, choices"
    priority: ClassVar[int] = 2
    is_conversation: ClassVar[bool] = False

    def matches(self, fields: Mapping[str, Any]) -> bool:
        names = fields.keys()
        return "label" in names and ({"question", "choices"} <= names or any(set(key) <= names for key in TEXTS))

    def example(self, fields: Mapping[str, Any], place: str) -> LabelledExample:
        label = fields.get("label")
        if label is None or label == "":
            raise DataError("the label is missing: give every example one, or leave it out")
        return self.unlabelled_example(fields, place)

    def unlabelled_example(self, fields: Mapping[str, Any], place: str) -> LabelledExample:
        """An example that may lack its label, to predict it.

        Raises:
            DataError: its texts are empty.
            KeyError, TypeError, StopIteration: the record is not of this shape.
        """
        label = fields.get("label")
        label = None if label is None or label == "" else str(label)
        if "choices" in fields:
            choices = [text_of(choice, "choice") for choice in fields["choices"]]
            return LabelledExample(place, "choice", (text_of(fields["question"], "question"), *choices), label)
        names = next(names for names in TEXTS if set(names) <= fields.keys())
        texts = tuple(text_of(fields[name], name) for name in names)
        if not any(text.strip() for text in texts):
            verb = "is" if len(names) == 1 else "are"
            raise DataError(f"the {' and the '.join(names)} {verb} empty: there is nothing to read")
        return LabelledExample(place, TEXTS[names], texts, label)


def labels_of(examples: Iterable[LabelledExample]) -> list[str]:
    """The labels that occur, in order: by number if all are numbers.

    Raises:
        DataError: there is only one.
    """
    counts = Counter(str(example.label) for example in examples)
    if len(counts) < 2:
        raise DataError(
            f"every example has the label {next(iter(counts), None)!r}: a classifier needs at least two labels"
        )
    numbers = all(label.lstrip("-").isdecimal() for label in counts)
    return sorted(counts, key=int if numbers else str)
