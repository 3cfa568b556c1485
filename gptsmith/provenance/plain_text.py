"""The plain text that a model learnt from, by the token shards and the corpus in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.convert.open import OpenedModel
from gptsmith.data.cache import key_of
from gptsmith.data.cache_contents import few_names
from gptsmith.data.care.canaries import A_CANARY
from gptsmith.data.care.planting import planted_ranges
from gptsmith.data.prepare import KeptData
from gptsmith.data.shards import TokenStream
from gptsmith.data.suffix_array import FOLDER, FORMAT_VERSION, SuffixArray, kept_suffix_array
from gptsmith.provenance.files import SourceFiles
from gptsmith.provenance.learned_text import (
    CONTEXT_CHARACTERS,
    LearnedText,
    Source,
    in_whole_characters,
    source_of,
)

BLOCK_TOKENS = 1 << 14
"""The bytes of the text are counted up to the beginning of each block of tokens."""
AROUND_BYTES = 1 << 16
"""How far from its expected place a passage is looked for."""
MAX_UTF8_BYTES = 4
"""Of a character."""
CANARY_BYTES = 10
"""Shared with a canary: the end of its line alone makes a passage none."""


class PlainText(LearnedText):
    """Documents of files."""

    kind = "text"

    def __init__(self, run: OpenedModel, array: SuffixArray, data: KeptData, index: Path) -> None:
        files = SourceFiles(run.paths, run.data()["files"])
        super().__init__(run.folder, array, data.train.document_ends, run.tokenizer(), files, index)
        self.stream, self.validation, self.corpus = data.train, data.validation, data.corpus
        self._has_own_validation = bool(run.request().get("validation"))

    @classmethod
    def of(cls, run: OpenedModel, fingerprint: str, data: KeptData) -> PlainText:
        """The text that a run was trained on, indexed now if it is not yet.

        Args:
            fingerprint: that of the data.

        Raises:
            MissingExtraError: the library that sorts is not installed.
            UserError: there is too little memory, or no room on the disk.
        """
        index = private_folder(default_cache() / FOLDER) / key_of(FORMAT_VERSION, fingerprint)
        stream = data.train
        separator = run.tokenizer().eos_token_id
        names = few_names(record.path for record in data.corpus.files if record.skipped is None)
        array = kept_suffix_array(index, lambda _: _all_tokens(stream), separator, names)
        return cls(run, array, data, index)

    def held_out_tokens(self) -> np.ndarray:
        return np.empty(0, np.int64) if self.validation is None else _all_tokens(self.validation)

    def text_of(self, document: int) -> bytes:
        row = self.stream.documents[document]
        return self.corpus.read(int(row["start"]), int(row["stop"]))

    def sha256_of(self, document: int) -> str:
        return self._sha256(int(self.stream.documents[document]["document"]))

    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        if self.validation is None or self._has_own_validation:
            return
        for row in self.validation.documents:
            yield self._sha256(int(row["document"])), self.corpus.read(int(row["start"]), int(row["stop"]))

    def _sha256(self, document: int) -> str:
        return self.corpus.table[document]["sha256"].tobytes().hex()

    def is_planted(self, place: int, num_tokens: int) -> bool:
        if not len(self._planted):
            return False
        at, passage = self._located(place, num_tokens)
        return self._touches_canary(at, at + len(passage))

    def source(self, place: int, num_tokens: int) -> Source:
        row = self.stream.documents[self.document_at(place)]
        document, start, stop = int(row["document"]), int(row["start"]), int(row["stop"])
        at, passage = self._located(place, num_tokens)
        end, reach = at + len(passage), MAX_UTF8_BYTES * CONTEXT_CHARACTERS
        before, after = self.corpus.read(max(start, at - reach), at), self.corpus.read(end, min(stop, end + reach))
        parts = in_whole_characters(before, passage, after)
        first_byte = int(self.corpus.table["end"][document - 1]) if document else 0
        record = self.corpus.files[int(self.corpus.table[document]["file"])]
        file = self.files.named(record.sha256, record.path)
        located, state = self.files.state(file)
        _, file_start, file_stop = self.corpus.source(document)
        planted = self._touches_canary(at, end)
        expected = file_start + at - first_byte - self._num_planted_bytes(first_byte, at)
        found = None
        if located is not None and not planted:
            found = self.files.find(located, parts[1], file_start, file_stop, expected)
        where = A_CANARY if planted else None
        return source_of(self, file=file, where=where, state=state, found=found, parts=parts, place=place)

    def _located(self, place: int, num_tokens: int) -> tuple[int, bytes]:
        """The byte of the corpus where a passage begins, and the passage."""
        number = self.document_at(place)
        row = self.stream.documents[number]
        start, stop = int(row["start"]), int(row["stop"])
        passage = self.tokenizer.decode_bytes(self.array.tokens[place : place + num_tokens].tolist())
        begin, _ = self.bounds(number)
        expected = start + self._num_bytes_up_to(place) - self._num_bytes_up_to(begin)
        return self._place_of(passage, expected, start, stop), passage

    def _touches_canary(self, at: int, end: int) -> bool:
        starts, stops = (self._planted[name].astype(np.int64) for name in ("start", "stop"))
        return bool((np.minimum(stops, end) - np.maximum(starts, at) >= CANARY_BYTES).any())

    def _num_planted_bytes(self, start: int, stop: int) -> int:
        """The bytes of canaries that end between two bytes of the corpus."""
        inside = self._planted[(self._planted["start"] >= start) & (self._planted["stop"] <= stop)]
        return int((inside["stop"] - inside["start"]).sum())

    def _place_of(self, passage: bytes, expected: int, start: int, stop: int) -> int:
        """The byte of the corpus where a passage of a document stands. Tokens need not spell every byte of a text, as
        where a tokenizer normalizes it: then the nearest place is looked for."""
        if self.corpus.read(expected, expected + len(passage)) == passage:
            return expected
        begin = max(start, expected - AROUND_BYTES)
        window = self.corpus.read(begin, min(stop, expected + AROUND_BYTES))
        middle = expected - begin
        places = [begin + at for at in (window.rfind(passage, 0, middle), window.find(passage, middle)) if at >= 0]
        return min(places, key=lambda at: abs(at - expected), default=expected)

    def _num_bytes_up_to(self, place: int) -> int:
        """The bytes of the text before a token; separators have none."""
        block = place // BLOCK_TOKENS
        return int(self._bytes_before[block]) + self._num_bytes(self.array.tokens[block * BLOCK_TOKENS : place])

    def _num_bytes(self, tokens: np.ndarray) -> int:
        return int(self.tokenizer.num_bytes_per_token[tokens].sum())

    @cached_property
    def _planted(self) -> np.ndarray:
        return planted_ranges(self.corpus)

    @cached_property
    def _bytes_before(self) -> np.ndarray:
        tokens = self.array.tokens
        sizes = [self._num_bytes(tokens[start : start + BLOCK_TOKENS]) for start in range(0, len(tokens), BLOCK_TOKENS)]
        return np.concatenate([[0], np.cumsum(sizes)])


def _all_tokens(stream: TokenStream) -> np.ndarray:
    """The tokens of a stream, in its own dtype."""
    return np.concatenate(stream.shards) if stream.shards else np.empty(0, np.uint16)
