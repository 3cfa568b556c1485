"""A tuned classifier: texts to the probabilities of labels."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.convert.load import Loaded
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.run.lineage import HasLineage
from gptsmith.text.chat_template import default_template
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import KINDS, ObjectiveSettings
from gptsmith.train.samples import Sample


def labelling_objective(run: HasLineage) -> ObjectiveSettings | None:
    """The objective by which a model was tuned on labels; None if it predicts none."""
    training = run.training()
    objective = None if training is None else KINDS.validate(training.settings["train"]["objective"])
    return objective if objective is not None and objective.predicts_labels else None


class Classifier:
    """A model that was tuned on labels, with the objective that it was tuned by."""

    def __init__(self, loaded: Loaded, objective: ObjectiveSettings) -> None:
        self.loaded, self.objective = loaded, objective
        template = loaded.template or default_template(loaded.tokenizer)
        self.encoder = Encoder(loaded.tokenizer, template, loaded.config.context_length)

    @classmethod
    def of(cls, loaded: Loaded) -> Classifier | None:
        """The classifier that a model is; None if it predicts no labels."""
        objective = labelling_objective(loaded.run)
        return None if objective is None else cls(loaded, objective)

    @property
    def text_labels(self) -> Sequence[str]:
        """The labels of a single text; none if its examples are pairs, or questions with choices."""
        return self.objective.text_labels

    def labels_for(self, example: LabelledExample) -> Sequence[str]:
        """The labels that an example may get."""
        return self.objective.labels_for(example)

    def sample(self, example: LabelledExample) -> Sample:
        """An example as token sequences; if it is longer than the context, it loses its end.

        Raises:
            UserError: it is not of the form that the model was trained on.
        """
        return self.objective.label_sample(example, self.encoder)

    def samples(self, texts: Sequence[str]) -> list[Sample]:
        """Single texts as token sequences; those longer than the context lose their ends."""
        return [self.sample(LabelledExample(f"text {n}", "text", (text,), None)) for n, text in enumerate(texts, 1)]

    def probabilities(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The probabilities of the labels of some samples, in one forward pass; of a question with choices, of its
        choices, and zeros behind them where another sample has more."""
        return self.objective.probabilities(self.loaded.model, samples)
