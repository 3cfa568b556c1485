"""The predictions of a tuned classifier: labels with their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import load
from gptsmith.data.discover import readers_by_extension
from gptsmith.data.examples import records, unknown_shape
from gptsmith.data.shapes.labelled import LabelledExample, LabelledShape
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import KINDS


def predict(
    run: str | Path,
    files: Sequence[str | Path],
    *,
    device: str = "auto",
    observe: Callable[[int], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """The fields of each record of some files, with `label` (`predicted` if there is a label already) and
    `probabilities`.

    Raises:
        UserError: the run is not a classifier, or a record cannot be read.
    """
    loaded = load(run, device=device)
    training = loaded.run.training()
    objective = None if training is None else KINDS.validate(training.settings["train"]["objective"])
    if objective is None or not objective.predicts_labels:
        raise UserError(f"{run} is not a classifier: make one with {shell_command('finetune', run, 'LABELLED')}")
    found = [(record.fields, _unlabelled(record.fields, f"{path}, {record.place}")) for path, record in records(files)]
    if not found:
        allowed = ", ".join(name for name, reader in readers_by_extension().items() if reader.holds_records)
        raise UserError(f"{', '.join(map(str, files))}: no records in it (allowed: {allowed})")
    encoder = Encoder(loaded.tokenizer, loaded.template or ChatTemplate(), loaded.config.context_length)
    predictions = objective.predict(loaded.model, encoder, [example for _, example in found])
    for number, ((fields, _), probabilities) in enumerate(zip(found, predictions, strict=True), 1):
        name = "predicted" if "label" in fields else "label"
        yield {**fields, name: max(probabilities, key=probabilities.__getitem__), "probabilities": probabilities}
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
