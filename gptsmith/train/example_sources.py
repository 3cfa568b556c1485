"""The files that a fine-tuning learns from: their shape, and their examples in splits or their plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from gptsmith.base.cache_folder import default_cache
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.care.example_canaries import with_canaries
from gptsmith.data.care.near_examples import NearExamples, near_examples
from gptsmith.data.example_splits import ExampleSplits, split_examples
from gptsmith.data.examples import ExampleReading, read_examples, read_shape
from gptsmith.data.folder_splits import source_splits
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes import TEXT, Example
from gptsmith.data.skipped import Skipped
from gptsmith.text.tokenizers.huggingface import HuggingFaceTokenizerSettings
from gptsmith.train.objectives import KINDS
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.run_settings import ExampleSettings


@dataclass(frozen=True)
class ExampleSources:
    """The files that a request names, and how they are read.

    Attributes:
        request: with paths that can be opened.
        objective: the name of the objective that is asked for; None if the data decides.
        data: how files are read.
        choices: how their records become splits of examples.
        seed: of the splits.
    """

    request: FinetuneRequest
    objective: str | None
    data: DataSettings
    choices: ExampleSettings
    seed: int

    @classmethod
    def of(cls, table: Mapping[str, Any], request: FinetuneRequest) -> Self:
        """Those of the settings in `table`.

        Args:
            request: the one in `table`, with paths that can be opened.
        """
        train_table = table.get("train", {})
        given = train_table.get("objective", {})
        return cls(
            request,
            request.objective or (given if isinstance(given, str) else given.get("kind")),
            DataSettings.parse(table.get("data", {}), "data"),
            ExampleSettings.parse(table.get("examples", {}), "examples"),
            int(train_table.get("seed", 1)),
        )

    def shape(self) -> str:
        """The shape of the data; `text` if it is plain text, or the objective learns from nothing else.

        Raises:
            UserError: the data is of no known shape.
        """
        if self.objective in KINDS.names() and KINDS.settings(self.objective).shapes == (TEXT,):
            return TEXT
        return read_shape(source_splits(self.request.sources).train, self._reading)

    def splits(self, shape: str) -> ExampleSplits:
        """The examples of a shape in splits; none if the data is plain text.

        Raises:
            UserError: an example cannot be used.
        """
        if shape == TEXT:
            return ExampleSplits([], [], [])
        own, request, choices = source_splits(self.request.sources), self.request, self.choices
        cleaning = Cleaning.of(self.data.reading.redact, request.without, request.redact_passages)
        reading = replace(self._reading, cleaning=cleaning)
        read = read_examples(own.train, shape, reading, skip_bad=choices.skip_bad)
        held_out = [
            read_examples(files, shape, reading, skip_bad=choices.skip_bad) if files else None
            for files in (request.validation or own.validation, request.test or own.test)
        ]
        validation, test = (None if each is None else each.examples for each in held_out)
        near = self._near(read.examples, validation, test)
        splits = split_examples(
            read.examples,
            validation=validation,
            test=test,
            validation_fraction=choices.validation_fraction,
            test_fraction=choices.test_fraction,
            seed=self.seed,
            group_of=near.group_of,
        )
        every = [each for each in (read, *held_out) if each is not None]
        cleaning.require_found()
        if self.data.num_canaries:
            splits = with_canaries(splits, self.data.num_canaries, self.seed)
        return replace(
            splits,
            num_left_out=len(cleaning.left_out.found),
            redacted=dict(cleaning.redaction.counts),
            skipped=sum((each.skipped for each in every), Skipped()),
            fields={path: names for each in every for path, names in each.fields.items()},
            notes=(*([own.note] if own.note is not None else []), *near.notes, *splits.notes),
        )

    def _near(
        self, examples: Sequence[Example], validation: Sequence[Example] | None, test: Sequence[Example] | None
    ) -> NearExamples:
        """The groups of examples that stay in one split; each example alone if there is nothing to split, or they are
        not wanted."""
        choices = self.choices
        fractions = (validation, choices.validation_fraction), (test, choices.test_fraction)
        if choices.group_near_duplicates and any(given is None and share > 0 for given, share in fractions):
            return near_examples(examples, default_cache())
        return NearExamples(None)

    def text(self, base: Path) -> PreparedData:
        """Plain text in the tokens of the base in that folder.

        Raises:
            UserError: it cannot be read.
        """
        request = self.request
        return prepare(
            request.sources,
            settings=self.data,
            tokenizer=HuggingFaceTokenizerSettings(path=str(base)),
            validation=request.validation,
            without=request.without,
            redact_passages=request.redact_passages,
            seed=self.seed,
        )

    @property
    def _reading(self) -> ExampleReading:
        choices = self.choices
        return ExampleReading(self.data.reading, choices.label_field, choices.me, choices.ignored_fields)
