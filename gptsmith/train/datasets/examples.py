"""Learning from examples of a task: conversations, labels, preferences."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.randomness import derived_seed
from gptsmith.data.cache import default_cache, private_folder
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.generate.api import generate
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import ALONE, Processes
from gptsmith.train.datasets.base import Score, TrainingSet
from gptsmith.train.objectives import Batch, measured
from gptsmith.train.objectives.dpo import answer_log_likelihoods
from gptsmith.train.samples import Encoder, ExampleObjective, Sample, pack

TOKENS_PER_BATCH = 4096
"""Of an evaluation."""
SAMPLE_TOKENS = 60
PLACES_NAMED = 3
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Rows:
    """The samples of one part, as the rows that batches are made of."""

    rows: list[list[Sample]]

    @property
    def num_tokens(self) -> int:
        return sum(map(_num_tokens, self.rows))

    @property
    def num_examples(self) -> int:
        return sum(len(row) for row in self.rows)


class Encoding:
    """Makes rows of examples, for one objective and model; counts what it left out."""

    def __init__(self, objective: ExampleObjective, encoder: Encoder, skip_bad: bool) -> None:
        self.objective, self.encoder, self.skip_bad = objective, encoder, skip_bad
        self.num_skipped = 0

    def rows(self, examples: Iterable[Example]) -> Rows:
        """The rows of some examples.

        Raises:
            UserError: an example cannot be learnt from, and such ones are not to be left out; the message names it.
        """
        samples = list(self._samples(examples))
        if self.objective.packed:
            return Rows(pack(samples, self.encoder.context_length))
        return Rows([[sample] for sample in samples])

    def _samples(self, examples: Iterable[Example]) -> Iterator[Sample]:
        for example in examples:
            try:
                yield self.objective.sample(example, self.encoder)
            except UserError as error:
                if not self.skip_bad:
                    raise UserError(f"{example.place}: {error}") from None
                self.num_skipped += 1


class ExampleSet(TrainingSet):
    """Rows of samples, in an order that is drawn anew in every epoch."""

    def __init__(
        self, objective: ExampleObjective, encoder: Encoder, parts: ExampleSplits, *, skip_bad: bool, seed: int
    ) -> None:
        """
        Raises:
            UserError: an example cannot be learnt from, and such ones are not to be left out.
        """
        super().__init__()
        self.objective, self.encoder, self.parts, self.seed = objective, encoder, parts, seed
        encoding = Encoding(objective, encoder, skip_bad)
        self.train, self.validation = encoding.rows(parts.train), encoding.rows(parts.validation)
        self.test = encoding.rows(parts.test)
        self.num_skipped = encoding.num_skipped
        if not self.train.rows:
            raise UserError(f"none of the {len(parts.train):,} examples can be learnt from")
        self.num_samples = len(self.train.rows)
        self.tokens_per_sample = self.train.num_tokens / self.num_samples
        self.num_validation_tokens = self.validation.num_tokens

    def prepare(self, model: GPT, key: str) -> None:
        """Gives samples what they need of the model before training: computed once, and then found in the cache.

        Args:
            key: the same for the same model, examples and numbers.
        """
        if not self.objective.compares:
            return
        rows = [row for part in (self.train, self.validation, self.test) for row in part.rows]
        samples = [sample for row in rows for sample in row]
        file = private_folder(default_cache() / "references") / f"{key}.npy"
        if file.exists():
            known = np.load(file, allow_pickle=False)
        else:
            known = self._log_likelihoods(model.eval(), rows)
            content = io.BytesIO()
            np.save(content, known, allow_pickle=False)
            write_atomically(file, content.getvalue())
        values = iter(known.tolist())
        for sample in samples:
            sample.reference = tuple(next(values) for _ in sample.sequences)

    @torch.inference_mode()
    def _log_likelihoods(self, model: GPT, rows: Sequence[list[Sample]]) -> np.ndarray:
        """Of each sequence's answer, in order, float64."""
        found: list[float] = []
        with meter("reading with the model as it is", len(rows)) as bar:
            done = 0
            for some in _evaluation_batches(rows):
                found += answer_log_likelihoods(model, self.objective.collate(some).to(model.device)).tolist()
                done += len(some)
                bar.update(done)
        return np.array(found, np.float64)

    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        rows = [self._row(sample) for sample in range(first_sample, first_sample + num_samples)]
        rows.sort(key=_num_tokens)  # rows that are read at once are padded to the longest of them
        return [
            self.objective.collate(rows[start : start + micro_batch_size]).to(model.device)
            for start in range(0, num_samples, micro_batch_size)
        ]

    def _row(self, sample: int) -> list[Sample]:
        epoch, place = divmod(sample, self.num_samples)
        return self.train.rows[epoch_order(self.seed, epoch, self.num_samples)[place]]

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = ALONE,
    ) -> Score:
        rows = self.validation.rows
        if max_tokens is not None:
            wanted = max(1, min(len(rows), round(len(rows) * max_tokens / max(self.validation.num_tokens, 1))))
            rows = [rows[number * len(rows) // wanted] for number in range(wanted)]
        return self._score(model, Rows(rows), observe)

    def _score(self, model: GPT, part: Rows, observe: Callable[[int], None] = lambda _: None) -> Score:
        def batches() -> Iterator[Batch]:
            done = 0
            for some in _evaluation_batches(part.rows):
                yield self.objective.collate(some).to(model.device)
                done += sum(map(_num_tokens, some))
                observe(done)

        means = measured(model, self.objective, batches())
        figures = {"validation_loss": self.objective.judged(means)}
        if ACCURACY in means:
            figures[ACCURACY] = means[ACCURACY]
        return Score(figures, part.num_tokens, len(part.rows) == len(self.validation.rows))

    def test_figures(self, model: GPT) -> dict[str, Any]:
        """How well a model does on the examples that judge: test_loss, num_test_examples and, where it is known,
        test_accuracy."""
        if not self.test.rows:
            return {}
        figures = self._score(model, self.test).figures
        renamed = {f"test_{name.removeprefix('validation_')}": value for name, value in figures.items()}
        return {**renamed, "num_test_examples": self.test.num_examples}

    def sample(self, model: GPT, seed: int) -> str:
        example = self.parts.validation[0] if self.parts.validation else self.parts.train[0]
        messages = getattr(example, "messages", ())
        question = [*messages[:-1]] if messages and messages[-1]["role"] == "assistant" else [*messages]
        if not question or self.objective.kind == "reward_model":
            return ""
        prompt_ids = self.encoder.template.prompt_ids(self.encoder.tokenizer, question)
        answer = generate(model, self.encoder.tokenizer, prompt_ids, max_tokens=SAMPLE_TOKENS, seed=seed, slide=True)
        return f"{question[-1]['content']} → {''.join(answer)}"

    def origin(self, first_sample: int, num_samples: int) -> str:
        rows = [self._row(sample) for sample in range(first_sample, first_sample + num_samples)]
        places = [sample.place for row in rows for sample in row]
        more = len(places) - PLACES_NAMED
        return "; ".join(places[:PLACES_NAMED]) + (f" and {more} more examples" if more > 0 else "")

    def description(self) -> list[str]:
        counts = {"to train": self.train, "to validate": self.validation, "to judge by": self.test}
        parts = ", ".join(f"{part.num_examples:,} {name}" for name, part in counts.items())
        packed = f" in {self.num_samples:,} rows" if self.objective.packed else ""
        lines = [f"examples: {parts}; {self.train.num_tokens:,} tokens to train{packed}"]
        if self.parts.num_dropped:
            lines.append(f"{self.parts.num_dropped:,} examples are left out, because other parts ask the same")
        if self.num_skipped:
            lines.append(f"{self.num_skipped:,} bad examples are left out")
        return lines


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
