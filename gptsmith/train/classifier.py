"""A tuned classifier: texts to the probabilities of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gptsmith.convert.load import Loaded
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.text.chat_template import default_template
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import KINDS, ObjectiveSettings
from gptsmith.train.samples import Sample


class Classifier:
    """A model that was tuned on labels, with the objective that it was tuned by."""

    def __init__(self, loaded: Loaded, objective: ObjectiveSettings) -> None:
        self.loaded, self.objective = loaded, objective
        template = loaded.template or default_template(loaded.tokenizer)
        self.encoder = Encoder(loaded.tokenizer, template, loaded.config.context_length)

    @classmethod
    def of(cls, loaded: Loaded) -> Classifier | None:
        """The classifier that a model is; None if it predicts no labels."""
        training = loaded.run.training()
        objective = None if training is None else KINDS.validate(training.settings["train"]["objective"])
        return cls(loaded, objective) if objective is not None and objective.predicts_labels else None

    @property
    def text_labels(self) -> Sequence[str]:
        """The labels of a single text; none if its examples are pairs, or questions with choices."""
        return self.objective.text_labels

    def predict(self, examples: Sequence[LabelledExample]) -> Iterator[dict[str, float]]:
        """The probability of each label, example by example.

        Raises:
            UserError: an example is not of the form that the model was trained on.
        """
        return self.objective.predict(self.loaded.model, self.encoder, examples)

    def samples(self, texts: Sequence[str]) -> list[Sample]:
        """Single texts as token sequences; those longer than the context lose their ends."""
        examples = [LabelledExample(f"text {number}", "text", (text,), None) for number, text in enumerate(texts, 1)]
        return [self.objective.label_sample(example, self.encoder) for example in examples]

    def probabilities(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The probabilities of the labels of some samples, in one forward pass."""
        return self.objective.probabilities(self.loaded.model, samples)
