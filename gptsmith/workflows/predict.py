"""The predictions of a tuned classifier: labels with their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from gptsmith.base.console import note
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded, load
from gptsmith.data.examples import ExampleReading, NamedRecord, named_records, no_examples, unknown_shape
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes.labelled import LabelledExample, LabelledShape
from gptsmith.data.skipped import Skipped
from gptsmith.data.sources import Sources, sources_of
from gptsmith.train.classifier import Classifier
from gptsmith.train.samples import Sample

RECORDS_AT_ONCE = 32


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

    Files are read as their rows are labelled: memory does not grow with them.

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
    skipped, num_rows = Skipped(), 0
    held: list[dict[str, Any]] | None = []  # rows with an error, until one can be labelled
    for row, is_labelled in _rows(classifier, named_records(files, reading), skipped):
        num_rows += 1
        if held is not None:
            held.append(row)
            if is_labelled:
                yield from held
                held = None
        else:
            yield row
        observe(num_rows)
    if held is not None:
        raise no_examples(files, skipped)
    for line in skipped.lines(f"{len(skipped):,} of {num_rows:,} records could not be labelled; their lines say why:"):
        note(line)


def _reading(loaded: Loaded, data: Mapping[str, Any]) -> ExampleReading:
    """How the records are read: as those that the classifier was trained on, but for what `data` says."""
    reading = DataSettings.parse(data, "data").reading
    trained_on = loaded.run.data().get("fields", {}) if loaded.run is not None else {}
    texts = {names["text"] for names in trained_on.values() if isinstance(names.get("text"), str)}
    return ExampleReading(reading, has_labels=False, usual_text=texts.pop() if len(texts) == 1 else None)


def _rows(
    classifier: Classifier, records: Iterable[NamedRecord], skipped: Skipped
) -> Iterator[tuple[dict[str, Any], bool]]:
    """The rows of some records, in order, and whether they are labelled; `skipped` counts those that cannot be."""
    records = iter(records)
    while some := list(islice(records, RECORDS_AT_ONCE)):
        read = [_read(classifier, named) for named in some]
        samples = [each[1] for each in read if not isinstance(each, DataError)]
        probabilities = iter(classifier.probabilities(samples) if samples else [])
        for named, each in zip(some, read, strict=True):
            name = "predicted" if "label" in named.fields else "label"
            if isinstance(each, DataError):
                skipped.add(named.place, str(each))
                yield {**named.original, name: None, "error": f"{named.place}: {each}"}, False
            else:
                found = dict(zip(classifier.labels_for(each[0]), next(probabilities), strict=False))
                yield {**named.original, name: max(found, key=found.__getitem__), "probabilities": found}, True


def _read(classifier: Classifier, named: NamedRecord) -> tuple[LabelledExample, Sample] | DataError:
    """The example of a record, which may lack its label, and its tokens; or why it cannot be labelled."""
    if named.problem is not None:
        return DataError(named.problem)
    try:
        example = LabelledShape().unlabelled_example(named.fields, named.place)
        return example, classifier.sample(example)
    except UserError as error:
        return DataError(str(error))
    except (KeyError, TypeError, AttributeError, StopIteration):
        return DataError(unknown_shape(named.fields, "labelled"))
