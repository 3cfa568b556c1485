"""The replies that a model was trained to write, each after its question, in the run's own chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.example_canaries import PLACE
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.data.shards import token_dtype
from gptsmith.data.suffix_array import suffix_array
from gptsmith.provenance.files import SourceFiles
from gptsmith.provenance.learned_text import Source, SourcedText, in_whole_characters, source_in_record
from gptsmith.run.lineage import Origin
from gptsmith.text.chat_template import default_template
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.datasets.encoded import EncodedSamples
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.objectives import KINDS, objectives_for


@dataclass(frozen=True)
class TaughtSequences:
    """Token sequences as a model was trained on them. A reply is a row of targets: the text of a turn, say.

    Attributes:
        ids: (I,), one sequence after the other.
        ends: (S,), the place behind each sequence.
        is_target: (I,), whether a model was trained to write a token. Special tokens, such as the one that ends a turn,
            are nobody's text and count as none; nor does the first token of a sequence, which follows nothing.
        where: (S,), where a person finds the example of each.
    """

    ids: np.ndarray
    ends: np.ndarray
    is_target: np.ndarray
    where: Sequence[str]

    @classmethod
    def of(cls, splits: Iterable[tuple[EncodedSamples, Sequence[Example]]], tokenizer: Tokenizer) -> TaughtSequences:
        """Those of some splits, each with its examples."""
        found = [
            (sequence, examples[samples.example_number(number)].place)
            for samples, examples in splits
            for number in range(len(samples))
            for sequence in samples[number].sequences
        ]
        nothing = np.empty(0, np.int64)
        ids = np.concatenate([nothing, *(np.array(sequence.ids, np.int64) for sequence, _ in found)])
        trained = np.concatenate([nothing, *(np.array(sequence.trained, np.int64) for sequence, _ in found)])
        ends = np.array([*accumulate(len(sequence.ids) for sequence, _ in found)], np.int64)
        is_target = (trained > 0) & ~np.isin(ids, [*tokenizer.special_ids])
        is_target[np.concatenate([[0], ends[:-1]])[: len(ends)]] = False
        return cls(ids, ends, is_target, [place for _, place in found])

    @cached_property
    def firsts(self) -> np.ndarray:
        """(R,): the place of the first token of each reply in `ids`."""
        return np.flatnonzero(np.diff(self.is_target.astype(np.int8), prepend=0) == 1)

    @cached_property
    def places(self) -> np.ndarray:
        """(I,): the place of each target among the replies, which have a separator behind each; -1 for other tokens."""
        num_before = np.searchsorted(self.firsts, np.arange(len(self.ids)), side="right") - 1
        return np.where(self.is_target, np.cumsum(self.is_target) - 1 + num_before, -1)

    def replies(self, separator: int) -> np.ndarray:
        """The replies, with a separator behind each."""
        found = np.full(int(self.is_target.sum()) + len(self.firsts), separator, token_dtype(separator + 1))
        found[self.places[self.is_target]] = self.ids[self.is_target]
        return found

    def bounds(self, place: int) -> tuple[int, int]:
        """The first token of the sequence that a token belongs to, and the one behind its last."""
        number = int(np.searchsorted(self.ends, place, side="right"))
        return int(self.ends[number - 1]) if number else 0, int(self.ends[number])

    def where_is(self, place: int) -> str:
        """Where a person finds the example of a token."""
        return self.where[int(np.searchsorted(self.ends, place, side="right"))]


class Replies(SourcedText):
    """The replies of the examples that a run was tuned on: each is a document.

    Attributes:
        sequences: the examples, as they were trained on.
        held_out: those that were held out.
    """

    kind = "examples"

    def __init__(
        self, run: OpenedModel, sequences: TaughtSequences, held_out: TaughtSequences, files: SourceFiles
    ) -> None:
        tokenizer = run.tokenizer()
        separator = tokenizer.vocab_size
        tokens = sequences.replies(separator)
        self.sequences, self.held_out = sequences, held_out
        ends = np.flatnonzero(tokens == separator) + 1
        super().__init__(run.folder, suffix_array(tokens, separator), ends, tokenizer, files)

    @classmethod
    def of(
        cls, run: OpenedModel, origin: Origin, sources: ExampleSources, splits: ExampleSplits, files: SourceFiles
    ) -> Replies:
        """Those of a run, encoded as it was trained in a step of its lineage.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: an example cannot be encoded, or there is no room on the disk.
        """
        tokenizer = run.tokenizer()
        splits, (train, validation, test) = encoded_splits(run, origin, sources, splits)
        return cls(
            run,
            TaughtSequences.of([(train, splits.train)], tokenizer),
            TaughtSequences.of([(validation, splits.validation), (test, splits.test)], tokenizer),
            files,
        )

    def is_planted(self, place: int, num_tokens: int) -> bool:
        return self.sequences.where_is(int(self.sequences.firsts[self.document_at(place)])) == PLACE

    def source(self, place: int, num_tokens: int) -> Source:
        number = self.document_at(place)
        first = int(self.sequences.firsts[number]) + place - self.bounds(number)[0]
        begin, end = self.sequences.bounds(first)
        cuts = begin, first, first + num_tokens, end
        parts = (self.sequences.ids[start:stop].tolist() for start, stop in pairwise(cuts))
        before, passage, after = map(self.tokenizer.decode_bytes, parts)
        return source_in_record(
            self, self.sequences.where_is(first), in_whole_characters(before, passage, after), place
        )


def encoded_splits(
    run: OpenedModel, origin: Origin, sources: ExampleSources, splits: ExampleSplits
) -> tuple[ExampleSplits, list[EncodedSamples]]:
    """The examples that a run was tuned on in a step of its lineage, as its objective completes them, and the samples
    of each split in the run's chat template.

    Raises:
        UserError: an example cannot be encoded, or there is no room on the disk.
    """
    tokenizer, choices = run.tokenizer(), sources.choices
    template = run.template() or default_template(tokenizer)
    encoder = Encoder(tokenizer, template, run.config.context_length, choices.learns_thoughts)
    objective = _objective(origin, sources, splits)
    splits = objective.completed_splits(splits)
    return splits, objective.encoded(splits, Encoding(encoder, choices.skip_bad))


def _objective(origin: Origin, sources: ExampleSources, splits: ExampleSplits) -> ExampleObjective:
    """The objective of a training. One that asks with examples, but does not teach their answers, stands
    back for the usual one of such examples, whose questions and answers are the same."""
    given = origin.settings["train"]["objective"]
    objective = KINDS.settings(given["kind"]).for_examples(given, splits)
    if isinstance(objective, ExampleObjective):
        return objective
    usual = KINDS.validate(objectives_for(sources.shape())[0])
    assert isinstance(usual, ExampleObjective)
    return usual
