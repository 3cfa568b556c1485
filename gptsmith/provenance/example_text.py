"""The examples that a model was tuned on: each text of them, such as a turn, is a document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, sha256_of, write_json
from gptsmith.convert.open import OpenedModel
from gptsmith.data.cache import key_of
from gptsmith.data.cache_contents import few_names
from gptsmith.data.care.left_out import named
from gptsmith.data.discover import discover
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.examples import records
from gptsmith.data.shapes import Example
from gptsmith.data.shards import token_dtype
from gptsmith.data.suffix_array import FOLDER, FORMAT_VERSION, SuffixArray, is_whole, kept_suffix_array, opened
from gptsmith.provenance.files import SourceFiles
from gptsmith.provenance.in_place import InPlace, texts_in_place
from gptsmith.provenance.learned_text import LearnedText, Source, in_whole_characters, source_in_record
from gptsmith.provenance.replies import Replies, encoded_splits
from gptsmith.run.lineage import Origin
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.request import FinetuneRequest

TABLE_VERSION = 2
DOCUMENT = np.dtype([("end", "<u8"), ("file", "<u4"), ("place", "<u4"), ("sha256", "V32")])
"""Of each text: the place behind its separator, the number of its file and of the words for its record, and the name of
that."""
DOCUMENTS_FILE, PLACES_FILE = "documents.table", "places.json"
HELD_OUT_DOCUMENTS_FILE, HELD_OUT_TOKENS_FILE = "held_out.table", "held_out.tokens"


class ExampleText(LearnedText):
    """The texts of examples. A text that a chat template writes around them is none of theirs.

    Attributes:
        opened: the run that was tuned on them.
    """

    kind = "examples"

    def __init__(self, run: OpenedModel, origin: Origin, array: SuffixArray, index: Path) -> None:
        table = np.fromfile(index / DOCUMENTS_FILE, DOCUMENT)
        kept = read_json(index / PLACES_FILE, with_names=True)
        self._table, self._places, self._paths = table, kept["places"], list(kept["files"])
        super().__init__(run.folder, array, table["end"], run.tokenizer(), SourceFiles(run.paths, kept["files"]), index)
        self.opened, self._origin = run, origin

    @classmethod
    def of(cls, run: OpenedModel, origin: Origin) -> ExampleText:
        """The examples that a run was tuned on in a step of its lineage, indexed now if they are not yet.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: the examples are gone or have changed, or there is no room for the index.
        """
        tokenizer = run.tokenizer()
        fingerprint = run.data()["fingerprint"]
        index = private_folder(default_cache() / FOLDER) / key_of(
            FORMAT_VERSION, TABLE_VERSION, fingerprint, tokenizer.fingerprint
        )
        separator = tokenizer.vocab_size  # no text has it: the EOS token can stand between the turns of a conversation
        if is_whole(index):
            return cls(run, origin, opened(index), index)
        examples = examples_of(run, origin)
        array = kept_suffix_array(
            index, lambda folder: _write(folder, examples, tokenizer), separator, few_names(examples.files)
        )
        return cls(run, origin, array, index)

    def replies(self) -> Replies:
        """What the run was trained to write, in its chat template.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: the examples are gone or have changed, or there is no room on the disk.
        """
        examples = examples_of(self.opened, self._origin)
        return Replies.of(self.opened, self._origin, examples.sources, examples.splits, self.files)

    def in_place(self, documents: Sequence[int]) -> dict[int, InPlace]:
        if not documents:
            return {}
        examples = examples_of(self.opened, self._origin)
        splits, (train, *_) = encoded_splits(self.opened, self._origin, examples.sources, examples.splits)
        wanted, samples_of = {self._where(document) for document in documents}, defaultdict[str, list[int]](list)
        for number in range(len(train)):
            if (place := splits.train[train.example_number(number)].place) in wanted:
                samples_of[place].append(number)
        found = {}
        for owner, texts in groupby(range(len(self.ends)), key=self._where):
            if owner not in samples_of:
                continue
            numbers = [*texts]
            sequences = [np.array(each.ids) for number in samples_of[owner] for each in train[number].sequences]
            places = texts_in_place(map(self.text_of, numbers), sequences, self.tokenizer)
            found.update({number: place for number, place in zip(numbers, places, strict=True) if place is not None})
        return found

    def _where(self, document: int) -> str:
        """Where a person finds the example that a text is of."""
        row = self._table[document]
        return f"{self._paths[int(row['file'])]}, {self._places[int(row['place'])]}"

    def held_out_tokens(self) -> np.ndarray:
        return np.fromfile(self.index / HELD_OUT_TOKENS_FILE, self.array.tokens.dtype)

    def text_of(self, document: int) -> bytes:
        return self.tokenizer.decode_bytes(self.tokens_of(document).tolist())

    def sha256_of(self, document: int) -> str:
        return _name(self._table[document])

    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        ids, begin = self.held_out_tokens(), 0
        for row in np.fromfile(self.index / HELD_OUT_DOCUMENTS_FILE, DOCUMENT):
            end = int(row["end"])
            yield _name(row), self.tokenizer.decode_bytes(ids[begin : end - 1].tolist())
            begin = end

    def source(self, place: int, num_tokens: int) -> Source:
        number = self.document_at(place)
        document, (begin, _) = self.tokens_of(number), self.bounds(number)
        cuts = place - begin, place - begin + num_tokens
        before, passage, after = (self.tokenizer.decode_bytes(part.tolist()) for part in np.split(document, cuts))
        return source_in_record(self, self._where(number), in_whole_characters(before, passage, after), place)


@dataclass(frozen=True)
class RunExamples:
    """The examples that a run was tuned on.

    Attributes:
        sources: where they are, and how they are read.
        splits: the examples.
        files: the SHA-256 of each of their files.
    """

    sources: ExampleSources
    splits: ExampleSplits
    files: dict[str, str]

    def names(self) -> dict[str, str]:
        """The name by which the record of each example can be left out, by its place."""
        settings = self.sources.data.reading
        return {
            f"{path}, {record.place}": name
            for path, of_file in groupby(records(self.files, settings), key=lambda item: item[0])
            for record, name in named(path, (record for _, record in of_file), settings.text_field)
        }


def examples_of(run: OpenedModel, origin: Origin) -> RunExamples:
    """The examples that a run was tuned on in a step of its lineage.

    Raises:
        UserError: a file is gone, or the examples are not those that were learnt from.
    """
    request = FinetuneRequest.parse(dict(origin.request), "request").located(run.paths.located)
    sources = ExampleSources.of(origin.settings, request)
    splits = sources.splits(sources.shape())
    if splits.fingerprint != run.data()["fingerprint"]:
        raise UserError(f"the examples of {run.folder} have changed since it was tuned on them")
    every = discover([*request.sources, *request.validation, *request.test]).candidates
    return RunExamples(sources, splits, {str(each.file.path): sha256_of(each.file.path) for each in every})


def _write(folder: Path, examples: RunExamples, tokenizer: Tokenizer) -> np.ndarray:
    """Writes the tables of the index. Returns the tokens of the examples that are trained on."""
    splits, names = examples.splits, examples.names()
    numbers = {path: number for number, path in enumerate(examples.files)}
    places: dict[str, int] = {}

    def table(examples: Sequence[Example], ends: np.ndarray) -> np.ndarray:
        rows = []
        owners = (example.place for example in examples for _ in example.every_text())
        for end, owner in zip(ends, owners, strict=True):
            path, _, where = owner.rpartition(", ")
            name = bytes.fromhex(names[owner])
            rows.append((end, numbers[path], places.setdefault(where, len(places)), name))
        return np.array(rows, DOCUMENT)

    tokens, ends = _encoded(splits.own_train, tokenizer)
    table(splits.own_train, ends).tofile(folder / DOCUMENTS_FILE)
    held_out = [*splits.validation, *splits.test]
    held_out_tokens, ends = _encoded(held_out, tokenizer)
    table(held_out, ends).tofile(folder / HELD_OUT_DOCUMENTS_FILE)
    held_out_tokens.tofile(folder / HELD_OUT_TOKENS_FILE)
    write_json(folder / PLACES_FILE, {"files": examples.files, "places": list(places)})
    return tokens


def _name(row: np.void) -> str:
    return row["sha256"].tobytes().hex()


def _encoded(examples: Iterable[Example], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of each text of examples with a separator behind it, and where each ends with it."""
    dtype = token_dtype(tokenizer.vocab_size + 1)
    end = np.array([tokenizer.vocab_size], dtype)
    texts = (text for example in examples for text in example.every_text())
    parts = [np.concatenate([ids.astype(dtype), end]) for ids in tokenizer.encode_batch(texts)]
    return np.concatenate([*parts, np.empty(0, dtype)]), np.cumsum([len(part) for part in parts], dtype=np.int64)
