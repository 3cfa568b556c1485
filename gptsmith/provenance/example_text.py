"""The examples that a model was tuned on: each text of them, such as a turn, is a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, sha256_of, write_json
from gptsmith.convert.open import OpenedModel
from gptsmith.data.cache import key_of
from gptsmith.data.cache_contents import few_names
from gptsmith.data.discover import discover
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.passages import find_in_line
from gptsmith.data.shapes import Example
from gptsmith.data.shards import token_dtype
from gptsmith.data.suffix_array import FOLDER, FORMAT_VERSION, SuffixArray, is_whole, kept_suffix_array, opened
from gptsmith.provenance.files import SourceFiles
from gptsmith.provenance.learned_text import LearnedText, Source, in_whole_characters, source_of
from gptsmith.run.lineage import Origin
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.request import FinetuneRequest

DOCUMENT = np.dtype([("end", "<u8"), ("file", "<u4"), ("place", "<u4")])
"""Of each text: the place behind its separator, and the number of its file and of the words for its record."""
DOCUMENTS_FILE, HELD_OUT_TOKENS_FILE, PLACES_FILE = "documents.table", "held_out.tokens", "places.json"
LINE = re.compile(r"line (\d+)")


class ExampleText(LearnedText):
    """The texts of examples. A text that a chat template writes around them is none of theirs."""

    kind = "examples"

    def __init__(self, run: OpenedModel, array: SuffixArray, index: Path) -> None:
        table = np.fromfile(index / DOCUMENTS_FILE, DOCUMENT)
        kept = read_json(index / PLACES_FILE, with_names=True)
        self._table, self._places, self._paths = table, kept["places"], list(kept["files"])
        super().__init__(run.folder, array, table["end"], run.tokenizer(), SourceFiles(run.paths, kept["files"]), index)

    @classmethod
    def of(cls, run: OpenedModel, origin: Origin) -> ExampleText:
        """The examples that a run was tuned on in a step of its lineage, indexed now if they are not yet.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: the examples are gone or have changed, or there is no room for the index.
        """
        tokenizer = run.tokenizer()
        fingerprint = run.data()["fingerprint"]
        index = private_folder(default_cache() / FOLDER) / key_of(FORMAT_VERSION, fingerprint, tokenizer.fingerprint)
        separator = tokenizer.vocab_size  # no text has it: the EOS token can stand between the turns of a conversation
        if is_whole(index):
            return cls(run, opened(index), index)
        splits, files = examples_of(run, origin)
        array = kept_suffix_array(
            index, lambda folder: _write(folder, splits, files, tokenizer), separator, few_names(files)
        )
        return cls(run, array, index)

    def held_out_tokens(self) -> np.ndarray:
        return np.fromfile(self.index / HELD_OUT_TOKENS_FILE, self.array.tokens.dtype)

    def text_of(self, document: int) -> bytes:
        return self.tokenizer.decode_bytes(self.tokens_of(document).tolist())

    def sha256_of(self, document: int) -> str | None:
        return None

    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        ids = self.held_out_tokens()
        for document in np.split(ids, np.flatnonzero(ids == self.tokenizer.vocab_size) + 1):
            yield None, self.tokenizer.decode_bytes(document[:-1].tolist())

    def source(self, place: int, num_tokens: int) -> Source:
        number = self.document_at(place)
        row = self._table[number]
        file, where = self._paths[int(row["file"])], self._places[int(row["place"])]
        document, (begin, _) = self.tokens_of(number), self.bounds(number)
        cuts = place - begin, place - begin + num_tokens
        before, passage, after = (self.tokenizer.decode_bytes(part.tolist()) for part in np.split(document, cuts))
        parts = in_whole_characters(before, passage, after)
        located, state = self.files.state(file)
        line = LINE.fullmatch(where)
        found = None if located is None or line is None else find_in_line(located, parts[1], int(line[1]))
        return source_of(self, file=file, where=where, state=state, found=found, parts=parts, place=place)


def examples_of(run: OpenedModel, origin: Origin) -> tuple[ExampleSplits, dict[str, str]]:
    """The examples in splits, and the SHA-256 of each of their files.

    Raises:
        UserError: a file is gone, or the examples are not those that were learnt from.
    """
    named = FinetuneRequest.parse(dict(origin.request), "request")
    request = named.located(run.paths.located)
    sources = ExampleSources.of(origin.settings, request)
    splits = sources.splits(sources.shape())
    if splits.fingerprint != run.data()["fingerprint"]:
        raise UserError(f"the examples of {run.folder} have changed since it was tuned on them")
    return splits, {str(each.file.path): sha256_of(each.file.path) for each in discover(request.sources).candidates}


def _write(folder: Path, splits: ExampleSplits, files: dict[str, str], tokenizer: Tokenizer) -> np.ndarray:
    """Writes the tables of the index. Returns the tokens of the examples that are trained on."""
    dtype = token_dtype(tokenizer.vocab_size + 1)
    numbers = {path: number for number, path in enumerate(files)}
    places: dict[str, int] = {}
    rows = []
    tokens, ends = _encoded((text for example in splits.train for text in example.every_text()), tokenizer, dtype)
    owners = [example.place for example in splits.train for _ in example.every_text()]
    for end, owner in zip(ends, owners, strict=True):
        path, _, where = owner.rpartition(", ")
        rows.append((end, numbers.get(path, 0), places.setdefault(where, len(places))))
    np.array(rows, DOCUMENT).tofile(folder / DOCUMENTS_FILE)
    _encoded(_texts(splits.validation), tokenizer, dtype)[0].tofile(folder / HELD_OUT_TOKENS_FILE)
    write_json(folder / PLACES_FILE, {"files": files, "places": list(places)})
    return tokens


def _texts(examples: Sequence[Example]) -> Iterable[str]:
    return (text for example in examples for text in example.every_text())


def _encoded(texts: Iterable[str], tokenizer: Tokenizer, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of texts with a separator behind each, and where each ends with it."""
    end = np.array([tokenizer.vocab_size], dtype)
    parts = [np.concatenate([ids.astype(dtype), end]) for ids in tokenizer.encode_batch(texts)]
    return np.concatenate([*parts, np.empty(0, dtype)]), np.cumsum([len(part) for part in parts], dtype=np.int64)
