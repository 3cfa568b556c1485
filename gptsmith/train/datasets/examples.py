"""A dataset of examples: conversations, labelled texts, preferences."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.randomness import derived_seed
from gptsmith.data.cache import key_of
from gptsmith.data.shapes import Example
from gptsmith.generate.api import generate
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.datasets.base import Dataset, DatasetInputs, PreviewedExample, Score
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import ObjectiveSettings, mean_terms
from gptsmith.train.samples import Sample, pack

TOKENS_PER_BATCH = 4096
"""Of an evaluation."""
SAMPLE_TOKENS = 60
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

    @abstractmethod
    def collate(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        """A batch of rows of samples: one per row, unless they are packed."""

    def completed(self, model: GPT, batches: list[Batch]) -> list[Batch]:
        """The batches of a step, or of an evaluation, with what is estimated over all of them before any gradient."""
        return batches

    def preview(self, sample: Sample) -> PreviewedExample:
        """A sample for a person to see."""
        return PreviewedExample(sample.place, sample.sequences)


@dataclass(frozen=True)
class Rows:
    """The samples of a split, as the rows that batches are made of."""

    rows: list[list[Sample]]

    @property
    def num_tokens(self) -> int:
        return sum(map(_num_tokens, self.rows))

    @property
    def num_examples(self) -> int:
        return sum(sample.part == 0 for row in self.rows for sample in row)


class ExampleDataset(Dataset):
    """Rows of samples, in an order that is shuffled anew in every epoch."""

    def __init__(self, objective: ExampleObjective, inputs: DatasetInputs) -> None:
        """
        Raises:
            UserError: an example cannot be learnt from, and such ones are not to be skipped.
        """
        super().__init__()
        self.objective, self.encoder, self.splits, self.seed = objective, inputs.encoder, inputs.splits, inputs.seed
        self.encoding = Encoding(inputs.encoder, inputs.skip_bad)
        self.train, self.validation, self.test = (
            self._rows(examples) for examples in (self.splits.train, self.splits.validation, self.splits.test)
        )
        if not self.train.rows:
            raise UserError(f"none of the {len(self.splits.train):,} examples can be learnt from")
        self.num_samples = len(self.train.rows)
        self.tokens_per_sample = self.train.num_tokens / self.num_samples
        self.num_validation_tokens, self.num_test_tokens = self.validation.num_tokens, self.test.num_tokens
        if objective.uses_reference_model:
            self._add_references(inputs.model, inputs.cache_key)

    def _rows(self, examples: Sequence[Example]) -> Rows:
        objective, encoder = self.objective, self.encoder
        samples = self.encoding.encode(
            examples, lambda example: [sample.compact() for sample in objective.samples(example, encoder)]
        )
        if objective.packed:
            order = epoch_order(self.seed, 0, len(samples))  # the neighbours in a file are often much alike
            return Rows(pack([samples[number] for number in order], encoder.context_length))
        return Rows([[sample] for sample in samples])

    def _add_references(self, model: GPT, cache_key: str) -> None:
        """Gives samples their log-likelihoods under the reference model: computed once, and then found in the cache."""
        rows = [row for split in (self.train, self.validation, self.test) for row in split.rows]
        file = private_folder(default_cache() / "references") / f"{key_of(cache_key, self.objective.kind)}.npy"
        if file.exists():
            known = np.load(file, allow_pickle=False)
        else:
            known = self._log_likelihoods(model.eval(), rows)
            content = io.BytesIO()
            np.save(content, known, allow_pickle=False)
            write_atomically(file, content.getvalue())
        values = iter(known.tolist())
        for row in rows:
            for sample in row:
                sample.reference = tuple(next(values) for _ in sample.sequences)

    @torch.inference_mode()
    def _log_likelihoods(self, model: GPT, rows: Sequence[list[Sample]]) -> np.ndarray:
        """The log-likelihood of each sequence's completion, in order, float64."""
        found: list[float] = []
        with meter("reference log-likelihoods", len(rows)) as bar:
            done = 0
            for some in _evaluation_batches(rows):
                batch = self.objective.collate(some).to(model.device)
                found += sequence_log_likelihoods(model, batch.input_ids, batch.targets).tolist()
                done += len(some)
                bar.update(done)
        return np.array(found, np.float64)

    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        rows = [self._row(sample) for sample in range(first_sample, first_sample + num_samples)]
        rows.sort(key=_num_tokens)  # rows that are read at once are padded to the longest of them
        batches = [
            self.objective.collate(rows[start : start + micro_batch_size]).to(model.device)
            for start in range(0, num_samples, micro_batch_size)
        ]
        return self.objective.completed(model, batches)

    @property
    def longest_sample(self) -> int:
        return max(map(_num_tokens, self.train.rows))

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        return sum(_num_tokens(self._row(sample)) for sample in range(first_sample, first_sample + num_samples))

    def _row(self, sample: int) -> list[Sample]:
        epoch, place = divmod(sample, self.num_samples)
        return self.train.rows[epoch_order(self.seed, epoch, self.num_samples)[place]]

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        rows = self.validation.rows
        if max_tokens is not None:
            wanted = max(1, min(len(rows), round(len(rows) * max_tokens / max(self.validation.num_tokens, 1))))
            rows = [rows[number * len(rows) // wanted] for number in range(wanted)]
        return self._score(model, Rows(rows), observe)

    def _score(self, model: GPT, split: Rows, observe: Callable[[int], None] = lambda _: None) -> Score:
        groups = list(_evaluation_batches(split.rows))
        batches = [self.objective.collate(rows).to(model.device) for rows in groups]
        with torch.inference_mode():
            batches = self.objective.completed(model, batches)

        def observed() -> Iterator[Batch]:
            done = 0
            for batch, rows in zip(batches, groups, strict=True):
                yield batch
                done += sum(map(_num_tokens, rows))
                observe(done)

        means = mean_terms(model, self.objective, observed())
        figures = {"validation_loss": self.objective.validation_loss(means)}
        if ACCURACY in means:
            figures[ACCURACY] = means[ACCURACY]
        return Score(figures, split.num_tokens, len(split.rows) == len(self.validation.rows))

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """How well a model does on the test split: test_loss, num_test_examples and, if the objective measures it,
        test_accuracy."""
        if not self.test.rows:
            return {}
        figures = self._score(model, self.test).figures
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
        rows = [self._row(sample) for sample in range(first_sample, first_sample + num_samples)]
        places = [sample.place for row in rows for sample in row]
        more = len(places) - PLACES_NAMED
        return "; ".join(places[:PLACES_NAMED]) + (f" and {more} more examples" if more > 0 else "")

    def description(self) -> list[str]:
        counts = {"to train": self.train, "to validate": self.validation, "to test": self.test}
        splits = ", ".join(f"{split.num_examples:,} {name}" for name, split in counts.items())
        packed = f" in {self.num_samples:,} rows" if self.objective.packed else ""
        lines = [f"examples: {splits}; {self.train.num_tokens:,} tokens to train{packed}"]
        if self.splits.num_dropped:
            lines.append(f"{self.splits.num_dropped:,} examples are skipped: another split has the same question")
        skipped = self.splits.skipped + self.encoding.skipped
        return [
            *lines, *self.encoding.lines(), *self.splits.notes, *skipped.lines(), *renamed_fields(self.splits.fields)
        ]  # fmt: skip

    def account(self) -> Encoding:
        return self.encoding

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        previewed: list[PreviewedExample] = []
        for example in self.splits.train:
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


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits `count` samples."""
    if (seed, epoch, count) not in _ORDERS:
        _ORDERS.clear()
        generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "examples", epoch)))
        _ORDERS[seed, epoch, count] = generator.permutation(count)
    return _ORDERS[seed, epoch, count]


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}


def _num_tokens(row: list[Sample]) -> int:
    return sum(sample.num_tokens for sample in row)


def _evaluation_batches(rows: Sequence[list[Sample]]) -> Iterator[list[list[Sample]]]:
    """Rows in order, as many at a time as have about `TOKENS_PER_BATCH` tokens once they are padded."""
    batch: list[list[Sample]] = []
    longest = 0
    for row in rows:
        length = max(_num_tokens(row), 1)
        if batch and max(longest, length) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch, longest = [], 0
        batch.append(row)
        longest = max(longest, length)
    if batch:
        yield batch
