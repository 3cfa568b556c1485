"""Encoded examples on disk: memory-mapped tokens, found again by the content that they were made of."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

import gptsmith.text
from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_json
from gptsmith.base.versions import source_sha256
from gptsmith.data.cache import MANIFEST, Hold, built_once, key_of
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.example_store import FOLDER
from gptsmith.data.shapes import Example
from gptsmith.text.chat_template import Encoded
from gptsmith.train.datasets.encoding import Encoding
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.samples import Sample

FORMAT_VERSION = 1
IDS, TRAINED, SEQUENCES, SAMPLES = "ids", "trained", "sequences", "samples"
SEQUENCE = np.dtype("<i8")
"""Of each sequence: the number of tokens up to its end."""
SAMPLE = np.dtype(
    [("end", "<i8"), ("example", "<i8"), ("label", "<i4"), ("omitted", "<i4"), ("truncated", "<i4"), ("part", "<i4")]
)
"""Of each sample: the number of sequences up to its end, the number of its example in its split, and its fields."""
DTYPES: dict[str, np.dtype[Any]] = {IDS: np.dtype("<i4"), TRAINED: np.dtype("i1"), SEQUENCES: SEQUENCE, SAMPLES: SAMPLE}


class EncodedSamples(Sequence[Sample]):
    """The samples of a split, read from the files when they are asked for; memory holds eight bytes of each.

    Attributes:
        lengths: the number of tokens of each sample (N,), int64.
    """

    def __init__(self, files: dict[str, np.ndarray], start: int, stop: int, hold: Hold | None = None) -> None:
        self._files, self._start, self._stop, self._hold = files, start, stop, hold
        ends = np.concatenate([[0], files[SEQUENCES]])[np.concatenate([[0], files[SAMPLES]["end"]])]
        self.lengths = np.diff(ends[start : stop + 1])

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def num_examples(self) -> int:
        return int((self._files[SAMPLES]["part"][self._start : self._stop] == 0).sum())

    def example_number(self, number: int) -> int:
        """The number in the split of the example that a sample is of."""
        return int(self._files[SAMPLES]["example"][self._start + number])

    def sequence_range(self, number: int) -> range:
        """The numbers of a sample's sequences, among those of all splits."""
        at, ends = self._start + number, self._files[SAMPLES]["end"]
        return range(int(ends[at - 1]) if at else 0, int(ends[at]))

    @overload
    def __getitem__(self, number: int) -> Sample: ...
    @overload
    def __getitem__(self, number: slice) -> list[Sample]: ...
    def __getitem__(self, number: int | slice) -> Sample | list[Sample]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        row = self._files[SAMPLES][self._start + number]
        return Sample(
            "",
            [self._sequence(each) for each in self.sequence_range(number)],
            label=int(row["label"]),
            num_omitted=int(row["omitted"]),
            num_truncated=int(row["truncated"]),
            part=int(row["part"]),
        )

    def _sequence(self, number: int) -> Encoded:
        ends = self._files[SEQUENCES]
        start, stop = int(ends[number - 1]) if number else 0, int(ends[number])
        return Encoded(
            array("i", self._files[IDS][start:stop].tobytes()), array("b", self._files[TRAINED][start:stop].tobytes())
        )


def encode_splits(
    objective: ObjectiveSettings,
    encoding: Encoding,
    splits: ExampleSplits,
    samples_of: Callable[[Example], Sequence[Sample]],
) -> list[EncodedSamples]:
    """The samples of the splits train, validation and test: written to the cache one by one, or found there,
    made of the same examples by the same code. `encoding` gets its account of them.

    Raises:
        UserError: an example cannot be used, and such ones are not to be skipped; or there is no room on the disk.
    """
    by_name = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    target = private_folder(default_cache() / FOLDER) / _key(objective, encoding, splits, samples_of)
    with built_once(target, _is_whole) as working:
        if working is not None:
            with ExitStack() as opened:
                writer = _Writer({name: opened.enter_context((working / name).open("wb")) for name in DTYPES})
                counts = {}
                for name, examples in by_name.items():
                    for number, samples in encoding.encode(name, examples, samples_of):
                        writer.write(number, samples)
                    counts[name] = writer.num_samples
            sizes = {name: (working / name).stat().st_size for name in DTYPES}
            write_json(
                working / MANIFEST,
                {"format_version": FORMAT_VERSION, "ends": counts, "sizes": sizes, "account": encoding.state()},
            )
    manifest = read_json(target / MANIFEST, with_names=True)
    encoding.restore(manifest["account"], by_name)
    hold = Hold(target)
    files = {name: _mapped(target / name, dtype) for name, dtype in DTYPES.items()}
    ends = [0, *(manifest["ends"][name] for name in by_name)]
    return [EncodedSamples(files, start, stop, hold) for start, stop in pairwise(ends)]


def _key(
    objective: ObjectiveSettings, encoding: Encoding, splits: ExampleSplits, samples_of: Callable[..., Any]
) -> str:
    """A key of all that the samples depend on: the examples, the tokenizer, the settings and the code."""
    encoder = encoding.encoder
    names = {cls.__module__ for cls in type(objective).__mro__} | {samples_of.__module__, Encoder.__module__}
    modules = [sys.modules[name] for name in sorted(names)]
    return key_of(
        FORMAT_VERSION,
        splits.fingerprint,
        [len(split) for split in (splits.train, splits.validation, splits.test)],
        [encoder.tokenizer.fingerprint, encoder.template.source, encoder.context_length, encoder.learns_thoughts],
        [objective.plain(), encoding.skip_bad],
        [source_sha256(module) for module in (gptsmith.text, *modules) if getattr(module, "__file__", None)],
    )


class _Writer:
    """Appends samples to the open files."""

    def __init__(self, files: dict[str, BinaryIO]) -> None:
        self._files = files
        self.num_samples = self._num_sequences = self._num_tokens = 0

    def write(self, example: int, samples: Sequence[Sample]) -> None:
        for sample in samples:
            for sequence in sample.sequences:
                self._num_tokens += len(sequence.ids)
                self._append(IDS, sequence.ids)
                self._append(TRAINED, sequence.trained)
                self._append(SEQUENCES, [self._num_tokens])
            self._num_sequences += len(sample.sequences)
            self.num_samples += 1
            row = (self._num_sequences, example, sample.label, sample.num_omitted, sample.num_truncated, sample.part)
            self._append(SAMPLES, [row])

    def _append(self, name: str, values: Sequence[Any]) -> None:
        self._files[name].write(np.array(values, DTYPES[name]).tobytes())


def _is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there in its size."""
    try:
        sizes = read_json(folder / MANIFEST, with_names=True)["sizes"]
        return all((folder / name).stat().st_size == sizes[name] for name in DTYPES)
    except (UserError, OSError, KeyError, TypeError):
        return False


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """The values in a file, memory-mapped; a file without any cannot be."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
