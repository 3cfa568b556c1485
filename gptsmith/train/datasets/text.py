"""A dataset of plain text: every token is predicted from those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

import numpy as np
import torch

from gptsmith.base.files import readable_bytes
from gptsmith.data.care.redaction import in_words
from gptsmith.data.prepare import PreparedData
from gptsmith.data.skipped_files import skipped_in_words
from gptsmith.data.windows import IGNORED, Windows
from gptsmith.evaluate.perplexity import score_language
from gptsmith.generate.api import generate
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.folder import DATA
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import SAMPLE_TOKENS, Dataset, DatasetInputs, Score
from gptsmith.train.unknown_tokens import unknown_tokens

SKIPPED_SHOWN = 5
DOCUMENTS_NAMED = 3
WINDOW_TOKENS = 2048
"""Windows of plain text to tune on are no longer than this: some models could read a hundred thousand tokens."""


class LeftOut(Protocol):
    """Chooses targets of plain text that are not learnt."""

    @property
    def num_before(self) -> int:
        """How many tokens before a target it looks at."""

    def __call__(self, tokens: np.ndarray, separator: int) -> np.ndarray:
        """Whether each target (T) is left out, given the tokens (num_before + T) up to the last of them."""


class TextDataset(Dataset):
    """Windows of a token stream, whose targets are all learnt but those that are `left_out`."""

    def __init__(
        self,
        data: PreparedData,
        context_length: int,
        seed: int,
        *,
        tokenizer_is_fixed: bool = False,
        left_out: LeftOut | None = None,
    ) -> None:
        super().__init__()
        self.data, self.tokenizer_is_fixed, self.left_out = data, tokenizer_is_fixed, left_out
        self.windows = Windows(data.train, context_length, seed)
        self.num_samples, self.tokens_per_sample = self.windows.num_windows, context_length
        self.num_validation_tokens = len(data.validation) if data.validation is not None else 0

    @classmethod
    def of(cls, inputs: DatasetInputs, left_out: LeftOut | None = None) -> Self:
        """The dataset for fine-tuning on plain text."""
        assert inputs.text is not None, "an objective for plain text"
        length = min(inputs.encoder.context_length, WINDOW_TOKENS)
        return cls(inputs.text, length, inputs.seed, tokenizer_is_fixed=True, left_out=left_out)

    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        found = []
        for start in range(0, num_samples, micro_batch_size):
            size = min(micro_batch_size, num_samples - start)
            input_ids, targets = self.windows.batch(first_sample + start, size)
            if self.left_out is not None:
                for row, own in enumerate(targets):
                    self._leave_out(first_sample + start + row, own, self.left_out)
            found.append(Batch(torch.from_numpy(input_ids), torch.from_numpy(targets)).to(model.device))
        return found

    def _leave_out(self, sample: int, targets: np.ndarray, left_out: LeftOut) -> None:
        """Leaves out some of the targets (T) of a sample, by what is before them in the stream."""
        start, stop = self.windows.span(sample)
        tokens = self.data.train.slice(start - left_out.num_before, stop, circular=True)
        targets[: stop - start][left_out(tokens, self.data.tokenizer.eos_token_id)] = IGNORED

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        stream = self.data.validation
        assert stream is not None, "called only if there is validation text"
        bytes_of = self.data.tokenizer.num_bytes_per_token
        score = score_language(model, stream, bytes_of, max_tokens=max_tokens, observe=observe, processes=processes)
        figures = {
            "validation_loss": score.validation_loss,
            "bits_per_byte": score.bits_per_byte,
            "perplexity": score.perplexity,
        }
        return Score(figures, score.num_tokens, score.num_tokens == len(stream))

    def sample(self, model: GPT, seed: int) -> str:
        return "".join(generate(model, self.data.tokenizer, max_tokens=SAMPLE_TOKENS, seed=seed))

    def origin(self, first_sample: int, num_samples: int) -> str:
        starts = [self.windows.span(sample)[0] for sample in range(first_sample, first_sample + num_samples)]
        documents = dict.fromkeys(self.data.train.document_at(start) for start in starts)
        named = []
        for document in list(documents)[:DOCUMENTS_NAMED]:
            path, start, stop = self.data.corpus.source(document)
            named.append(f"{path} (bytes {start:,} to {stop:,})")
        more = len(documents) - len(named)
        return ", ".join(named) + (f" and {more} more documents" if more else "")

    def description(self) -> list[str]:
        data, summary = self.data, self.data.summary
        duplicates, skipped, left_out = (summary[name] for name in ("num_duplicates", "skipped", "num_left_out"))
        lines = [
            f"data: {_counted(summary['num_files'], 'file')}, {_counted(summary['num_documents'], 'document')}"
            + (f", {duplicates:,} removed by exact deduplication" if duplicates else "")
            + (f", {left_out:,} left out by --without" if left_out else "")
            + (f", {_counted(len(skipped), 'file')} skipped:" if skipped else "")
        ]
        lines += [f"  {note}" for note in summary.get("split_notes", [])]
        if summary["redacted"]:
            lines.append(f"  replaced by placeholders: {in_words(summary['redacted'])}")
        lines += skipped_in_words(summary, DATA)
        if planted := summary.get("canaries"):
            share = planted["num_bytes"] / data.train.num_bytes
            lines.append(
                f"{_counted(planted['num'], 'made-up sentence')} (canaries) planted in "
                f"{_counted(planted['num_places'], 'place')}: {share:.1%} of the training text"
            )
        lines += fields_said(summary.get("text_fields", {}))
        held_out = (
            f"{len(data.validation):,} validation tokens" if data.validation is not None else "no validation split"
        )
        if warning := unknown_tokens(data, is_fixed=self.tokenizer_is_fixed):
            lines.append(warning)
        lines.append(f"{len(data.train):,} training tokens ({readable_bytes(data.train.num_bytes)}), {held_out}")
        return lines


def fields_said(text_fields: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines that say which fields of the records in some files are their text."""
    files: dict[str, list[str]] = {}
    for path, names in text_fields.items():
        files.setdefault(", ".join(names), []).append(path)
    return [
        f"  text: the field {names} of {paths[0]}"
        + (f" and {_counted(len(paths) - 1, 'more file')}" if len(paths) > 1 else "")
        for names, paths in files.items()
    ][:SKIPPED_SHOWN]


def _counted(count: int, noun: str) -> str:
    """A count with its noun: 1 file, 2 files."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
