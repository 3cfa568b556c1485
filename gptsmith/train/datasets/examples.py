"""A dataset of examples: conversations, labelled texts, preferences."""

from __future__ import annotations

import io
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import torch

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.data.cache import key_of
from gptsmith.data.care.canaries import canary_counts
from gptsmith.data.care.redaction import in_words
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.generate.api import generate
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.datasets.base import SAMPLE_TOKENS, Dataset, DatasetInputs, PreviewedExample, Score
from gptsmith.train.datasets.encoded import EncodedSamples, encode_splits
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.datasets.rows import Rows, epoch_order, evaluation_batches, num_tokens_in
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import ObjectiveSettings, mean_terms
from gptsmith.train.samples import Sample, pack

PLACES_NAMED = 3
ACCURACY = "accuracy"


class ExampleObjective(ObjectiveSettings):
    """An objective that learns from examples."""

    packed: ClassVar[bool] = False
    """Whether several samples share a row."""
    validation_term: ClassVar[str] = "loss"
    """The term whose mean is the validation loss; `loss` is all of them together."""

    def dataset(self, inputs: DatasetInputs) -> ExampleDataset:
        return ExampleDataset(self, inputs)

    def validation_loss(self, means: Mapping[str, float]) -> float:
        """The validation loss, given the mean of each term: the lower, the better the weights."""
        return means[self.validation_term]

    @abstractmethod
    def sample(self, example: Example, encoder: Encoder) -> Sample:
        """An example as token sequences.

        Raises:
            UserError: there is nothing to learn in it, or it does not fit in the context.
        """

    def samples(self, example: Example, encoder: Encoder) -> list[Sample]:
        """An example as samples: a single one, unless the objective says otherwise.

        Raises:
            UserError: there is nothing to learn in it, or it does not fit in the context.
        """
        return [self.sample(example, encoder)]

    def completed_splits(self, splits: ExampleSplits) -> ExampleSplits:
        """Examples with what the objective needs of others beside them."""
        return splits

    def encoded(self, splits: ExampleSplits, encoding: Encoding) -> list[EncodedSamples]:
        """The samples of each split, as it was completed: train, validation, test.

        Raises:
            UserError: an example cannot be used, and such ones are not to be skipped; or there is no room on the disk.
        """
        return encode_splits(self, encoding, splits, lambda example: self.samples(example, encoding.encoder))

    @abstractmethod
    def collate(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        """A batch of rows of samples: one per row, unless they are packed."""

    def estimate(self, model: GPT, batches: Iterable[Batch], processes: Processes = SINGLE_PROCESS) -> Any:
        """What is estimated over all batches of a step, or of an evaluation, before any gradient; None for nothing.

        Args:
            processes: those that have the other batches; all must call, and all get the same.
        """

    def with_estimate(self, batch: Batch, estimate: Any) -> Batch:
        """A batch with what was estimated over all of them."""
        return batch

    def completed(self, model: GPT, batches: list[Batch], processes: Processes = SINGLE_PROCESS) -> list[Batch]:
        """The batches of a step with what is estimated over those of all processes."""
        estimate = self.estimate(model, batches, processes)
        return [self.with_estimate(batch, estimate) for batch in batches]

    def preview(self, sample: Sample) -> PreviewedExample:
        """A sample for a person to see."""
        return PreviewedExample(sample.place, sample.sequences)


class ExampleDataset(Dataset):
    """Rows of samples, in an order that is shuffled anew in every epoch."""

    def __init__(self, objective: ExampleObjective, inputs: DatasetInputs) -> None:
        """
        Raises:
            UserError: an example cannot be learnt from, and such ones are not to be skipped.
        """
        super().__init__()
        self.objective, self.encoder, self.seed = objective, inputs.encoder, inputs.seed
        self.splits = objective.completed_splits(inputs.splits)
        self.encoding = Encoding(inputs.encoder, inputs.skip_bad)
        encoded = objective.encoded(self.splits, self.encoding)
        self.train, self.validation, self.test = (
            self._rows(samples, examples)
            for samples, examples in zip(
                encoded, (self.splits.train, self.splits.validation, self.splits.test), strict=True
            )
        )
        if not self.train:
            raise UserError(f"none of the {len(self.splits.train):,} examples can be learnt from")
        self.num_samples = len(self.train)
        self.tokens_per_sample = self.train.num_tokens / self.num_samples
        self.num_validation_tokens, self.num_test_tokens = self.validation.num_tokens, self.test.num_tokens
        if objective.uses_reference_model:
            self._add_references(inputs.model, inputs.cache_key)

    def _rows(self, samples: EncodedSamples, examples: Sequence[Example]) -> Rows:
        if not self.objective.packed:
            numbers = np.arange(len(samples))
            return Rows(samples, examples, numbers, numbers + 1)
        order = epoch_order(self.seed, 0, len(samples))  # the neighbours in a file are often much alike
        numbers, ends = pack(samples.lengths[order], self.encoder.context_length)
        return Rows(samples, examples, order[numbers], ends)

    def _add_references(self, model: GPT, cache_key: str) -> None:
        """Gives samples their log-likelihoods under the reference model: computed once, and then found in the cache."""
        splits = self.train, self.validation, self.test
        file = private_folder(default_cache() / "references") / f"{key_of(cache_key, self.objective.kind)}.npy"
        if not file.exists():
            content = io.BytesIO()
            found = self._log_likelihoods(model.eval(), [split.samples for split in splits])
            np.save(content, found, allow_pickle=False)
            write_atomically(file, content.getvalue())
        known = np.load(file, mmap_mode="r", allow_pickle=False)
        for split in splits:
            split.references = known

    @torch.inference_mode()
    def _log_likelihoods(self, model: GPT, splits: Sequence[EncodedSamples]) -> np.ndarray:
        """The log-likelihood of each sequence's completion, in order, float64."""
        found = array("d")
        with meter("reference log-likelihoods", sum(map(len, splits))) as bar:
            done = 0
            for samples in splits:
                for numbers in evaluation_batches(range(len(samples)), samples.lengths):
                    batch = self.objective.collate([[samples[number]] for number in numbers]).to(model.device)
                    found.extend(sequence_log_likelihoods(model, batch.input_ids, batch.targets).tolist())
                    done += len(numbers)
                    bar.update(done)
        return np.array(found)

    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        rows = [self._row(sample) for sample in range(first_sample, first_sample + num_samples)]
        rows.sort(key=num_tokens_in)  # rows that are read at once are padded to the longest of them
        batches = [
            self.objective.collate(rows[start : start + micro_batch_size]).to(model.device)
            for start in range(0, num_samples, micro_batch_size)
        ]
        return self.objective.completed(model, batches, processes)

    @property
    def longest_sample(self) -> int:
        return int(self.train.num_tokens_of.max())

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        return sum(
            int(self.train.num_tokens_of[self._row_number(sample)])
            for sample in range(first_sample, first_sample + num_samples)
        )

    def _row(self, sample: int) -> list[Sample]:
        return self.train[self._row_number(sample)]

    def _row_number(self, sample: int) -> int:
        epoch, place = divmod(sample, self.num_samples)
        return int(epoch_order(self.seed, epoch, self.num_samples)[place])

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        num_rows = wanted = len(self.validation)
        if max_tokens is not None:
            wanted = max(1, min(num_rows, round(num_rows * max_tokens / max(self.validation.num_tokens, 1))))
        numbers = [number * num_rows // wanted for number in range(wanted)]
        return self._score(model, self.validation, numbers, observe, processes)

    def _score(
        self,
        model: GPT,
        split: Rows,
        numbers: Sequence[int],
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        """How well a model does on some rows of a split, which are read batch by batch."""
        every = list(evaluation_batches(numbers, split.num_tokens_of))

        def batch_of(some: Sequence[int]) -> Batch:
            return self.objective.collate([split[number] for number in some]).to(model.device)

        with torch.inference_mode():  # over all batches in each process: the same estimate without a sum
            estimate = self.objective.estimate(model, map(batch_of, every))
        own, num_own = processes.share(every)

        def observed() -> Iterator[Batch]:
            done = 0
            for some in own:
                yield self.objective.with_estimate(batch_of(some), estimate)
                done += int(split.num_tokens_of[some].sum())
                observe(done * processes.world_size)

        means = mean_terms(model, self.objective, observed(), processes, num_own)
        figures = {"validation_loss": self.objective.validation_loss(means)}
        if ACCURACY in means:
            figures[ACCURACY] = means[ACCURACY]
        num_tokens = int(split.num_tokens_of[numbers].sum()) if numbers else 0
        return Score(figures, num_tokens, len(numbers) == len(self.validation))

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """How well a model does on the test split: test_loss, num_test_examples and, if the objective measures it,
        test_accuracy."""
        if not self.test:
            return {}
        figures = self._score(model, self.test, range(len(self.test))).figures
        renamed = {f"test_{name.removeprefix('validation_')}": value for name, value in figures.items()}
        return {**renamed, "num_test_examples": self.test.num_examples}

    def sample(self, model: GPT, seed: int) -> str:
        example = self.splits.validation[0] if self.splits.validation else self.splits.train[0]
        messages = getattr(example, "messages", ())
        question = [*messages[:-1]] if messages and messages[-1]["role"] == "assistant" else [*messages]
        if not question or self.objective.num_labels is not None:
            return ""
        prompt_ids = self.encoder.template.prompt_ids(
            self.encoder.tokenizer, question, tools=getattr(example, "tools", ())
        )
        answer = generate(model, self.encoder.tokenizer, prompt_ids, max_tokens=SAMPLE_TOKENS, seed=seed, slide=True)
        return f"{question[-1]['content']} → {''.join(answer)}"

    def origin(self, first_sample: int, num_samples: int) -> str:
        samples = range(first_sample, first_sample + num_samples)
        places = [place for sample in samples for place in self.train.places(self._row_number(sample))]
        more = len(places) - PLACES_NAMED
        return "; ".join(places[:PLACES_NAMED]) + (f" and {more} more examples" if more > 0 else "")

    def description(self) -> list[str]:
        counts = {"to train": self.train, "to validate": self.validation, "to test": self.test}
        splits = ", ".join(f"{split.num_examples:,} {name}" for name, split in counts.items())
        packed = f" in {self.num_samples:,} rows" if self.objective.packed else ""
        lines = [f"examples: {splits}; {self.train.num_tokens:,} tokens to train{packed}"]
        if self.splits.canaries:
            num_canaries, num_places = canary_counts(self.splits.canaries).values()
            lines.append(f"{num_canaries:,} made-up questions with answers (canaries) are {num_places:,} of them")
        if self.splits.num_dropped:
            lines.append(f"{self.splits.num_dropped:,} examples are skipped: another split has the same question")
        if self.splits.num_left_out:
            lines.append(f"{self.splits.num_left_out:,} examples are left out by --without")
        if self.splits.redacted:
            lines.append(f"replaced by placeholders: {in_words(self.splits.redacted)}")
        skipped = self.splits.skipped + self.encoding.skipped
        return [
            *lines, *self.encoding.lines(), *self.splits.notes, *skipped.lines(), *renamed_fields(self.splits.fields)
        ]  # fmt: skip

    def account(self) -> Encoding:
        return self.encoding

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        previewed: list[PreviewedExample] = []
        for example in self.splits.own_train:
            if len(previewed) >= num_examples:
                break
            with suppress(UserError):  # a bad example, which is skipped: otherwise there would be no dataset
                previewed += map(self.objective.preview, self.objective.samples(example, self.encoder))
        return previewed[:num_examples]


def renamed_fields(fields: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Lines that say which fields of the records in some files are the text and the label."""
    files: dict[str, list[str]] = {}
    for path, names in fields.items():
        said = ", ".join(f"the {usual} is the field {own}" for usual, own in names.items())
        files.setdefault(said, []).append(path)
    return [
        f"  {said} ({paths[0]}{f' and {len(paths) - 1:,} more' if len(paths) > 1 else ''})"
        for said, paths in files.items()
    ]
