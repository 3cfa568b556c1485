"""The predictions of a tuned classifier: labels with their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load
from gptsmith.data.discover import readers_by_extension
from gptsmith.data.examples import ExampleReading, NamedRecord, named_records, unknown_shape
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes.labelled import LabelledExample, LabelledShape
from gptsmith.data.sources import Sources, sources_of
from gptsmith.train.classifier import Classifier


def predict(
    run: str | Path,
    files: Sources,
    *,
    device: str = "auto",
    encoding: str | None = None,
    encoding_errors: Literal["strict", "replace"] | None = None,
    observe: Callable[[int], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """The fields of each record of some files, with `label` (`predicted` if there is a label already) and
    `probabilities`. A record that cannot be labelled has the label None, and its place and the reason as `error`.

    Raises:
        UserError: the run is not a classifier, or no record can be labelled.
    """
    files = sources_of(files)
    loaded = load(run, device=device)
    classifier, training = Classifier.of(loaded), loaded.run.training()
    if classifier is None or training is None:
        raise UserError(f"{run} is not a classifier: make one with {shell_command('finetune', run, 'LABELLED')}")
    options = {"encoding": encoding, "encoding_errors": encoding_errors}
    given = {name: value for name, value in options.items() if value is not None}
    reading = _reading(loaded, {**training.settings.get("data", {}), **given})
    rows = [(named, *_unlabelled(named)) for named in named_records(files, reading)]
    if not rows:
        allowed = ", ".join(name for name, reader in readers_by_extension().items() if reader.holds_records)
        raise UserError(f"{', '.join(map(str, files))}: no records in it (allowed: {allowed})")
    examples = [example for _, example, _ in rows if example is not None]
    if not examples:
        raise UserError(f"none of the {len(rows):,} records can be labelled; the first: {rows[0][2]}")
    predictions = classifier.predict(examples)
    for number, (named, example, problem) in enumerate(rows, 1):
        name = "predicted" if "label" in named.fields else "label"
        if example is None:
            yield {**named.original, name: None, "error": problem}
        else:
            probabilities = next(predictions)
            label = max(probabilities, key=probabilities.__getitem__)
            yield {**named.original, name: label, "probabilities": probabilities}
        observe(number)


def _reading(loaded: Loaded, data: Mapping[str, Any]) -> ExampleReading:
    """How the records are read: as those that the classifier was trained on, but for what `data` says."""
    reading = DataSettings.parse(data, "data").reading
    trained_on = loaded.run.data().get("fields", {}) if loaded.run is not None else {}
    texts = {names["text"] for names in trained_on.values() if isinstance(names.get("text"), str)}
    return ExampleReading(reading, has_labels=False, usual_text=texts.pop() if len(texts) == 1 else None)


def _unlabelled(named: NamedRecord) -> tuple[LabelledExample | None, str | None]:
    """The example of a record, which may lack its label; or why there is none, with its place."""
    if named.problem is not None:
        return None, f"{named.place}: {named.problem}"
    try:
        return LabelledShape().unlabelled_example(named.fields, named.place), None
    except UserError as error:
        return None, f"{named.place}: {error}"
    except (KeyError, TypeError, AttributeError, StopIteration):
        return None, f"{named.place}: {unknown_shape(named.fields, 'labelled')}"
