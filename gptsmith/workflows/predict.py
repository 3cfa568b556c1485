"""What a tuned model says of texts: labels with their probabilities, or the scores of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded, load
from gptsmith.data.discover import readers_by_extension
from gptsmith.data.examples import records, unknown_shape
from gptsmith.data.shapes.labelled import LabelledExample, LabelledShape
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.train.objectives import KINDS
from gptsmith.train.objectives.classification import ClassificationSettings
from gptsmith.train.samples import Encoder

EXAMPLES_AT_ONCE = 32


class Classifier:
    """A tuned classifier.

    Attributes:
        labels: what it tells apart; nothing where it chooses among choices.
    """

    def __init__(self, loaded: Loaded, objective: ClassificationSettings) -> None:
        self.loaded, self.objective, self.labels = loaded, objective, objective.labels
        self.encoder = Encoder(loaded.tokenizer, loaded.template or ChatTemplate(), loaded.config.context_length)

    @classmethod
    def load(cls, run: str | Path, *, device: str = "auto") -> Classifier:
        """The classifier in a run folder.

        Raises:
            UserError: the run is none.
        """
        loaded = load(run, device=device)
        training = loaded.run.training()
        objective = None if training is None else KINDS.validate(training.settings["train"]["objective"])
        if not isinstance(objective, ClassificationSettings):
            raise UserError(f"{run} is no classifier: make one with gptsmith finetune {run} LABELLED")
        return cls(loaded, objective)

    @torch.inference_mode()
    def predict(self, examples: Sequence[LabelledExample]) -> Iterator[dict[str, Any]]:
        """For each example the label that is most probable, and the probability of each.

        Raises:
            UserError: an example is not of the form that the classifier was trained on.
        """
        model = self.loaded.model
        for start in range(0, len(examples), EXAMPLES_AT_ONCE):
            some = examples[start : start + EXAMPLES_AT_ONCE]
            samples = []
            for example in some:
                try:
                    samples.append([self.objective.sample(example.without_label(), self.encoder)])
                except UserError as error:
                    raise UserError(f"{example.place}: {error}") from None
            batch = self.objective.collate(samples).to(model.device)
            scores = self.objective.scores(model, model.hidden(batch.input_ids), batch)
            for example, row in zip(some, scores.softmax(dim=1).tolist(), strict=True):
                labels = self.labels or list(example.texts[1:])
                probabilities = dict(zip(labels, row, strict=False))
                yield {"label": max(probabilities, key=probabilities.__getitem__), "probabilities": probabilities}


def predict(
    run: str | Path,
    files: Sequence[str | Path],
    *,
    device: str = "auto",
    observe: Callable[[int], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """The fields of each record of some files, with `label` (where there is one already: `predicted`) and
    `probabilities`.

    Raises:
        UserError: the run is no classifier, or a record cannot be read.
    """
    classifier = Classifier.load(run, device=device)
    found = [(record.fields, _unlabelled(record.fields, f"{path}, {record.place}")) for path, record in records(files)]
    if not found:
        allowed = ", ".join(name for name, reader in readers_by_extension().items() if reader.holds_records)
        raise UserError(f"{', '.join(map(str, files))}: no records in it (allowed: {allowed})")
    predictions = classifier.predict([example for _, example in found])
    for number, ((fields, _), said) in enumerate(zip(found, predictions, strict=True), 1):
        yield {**fields, **({"predicted": said["label"]} if "label" in fields else {"label": said["label"]}),
               "probabilities": said["probabilities"]}  # fmt: skip
        observe(number)


def _unlabelled(fields: Mapping[str, Any], place: str) -> LabelledExample:
    """The example of a record, which may lack its label.

    Raises:
        UserError: it has none of the fields of a labelled example.
    """
    try:
        return LabelledShape().unlabelled_example(fields, place)
    except (KeyError, TypeError, StopIteration):
        raise UserError(unknown_shape(place, fields, "labelled")) from None
