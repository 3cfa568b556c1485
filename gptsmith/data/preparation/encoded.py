"""Texts to tokens in shares: where each begins, encoded by itself, and all of them in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.files import write_json
from gptsmith.data import splits as split_module
from gptsmith.data.cache import MANIFEST, built_once
from gptsmith.data.preparation.job import MIN_SHARE_BYTES, NUM_SHARES
from gptsmith.data.shards import Encoded, token_dtype
from gptsmith.data.splits import Split, SplitChunk
from gptsmith.text.tokenizer import Tokenizer

TOKENS_FILE, CHUNKS_FILE = "tokens", "chunks"
CHUNK = np.dtype([("number", "<u8"), ("stop", "<u8"), ("num_bytes", "<u8"), ("num_tokens", "<u8"), ("last", "?")])
"""One row a chunk: its document in the split, its last byte, its size, its tokens, whether the document ends there."""


@dataclass(frozen=True)
class TextShare:
    """A part of a split that one task encodes: from a byte of one of its documents on, and up to another's.

    Attributes:
        split: `train` or `validation`.
        number, start: the document, and the byte of `documents.bin`.
        stop_number, stop: the same of the first that is not in it.
    """

    split: str
    number: int
    start: int
    stop_number: int
    stop: int

    @property
    def name(self) -> str:
        """Of the folder that its tokens are kept in."""
        return f"{self.split}-{self.number}-{self.start}"


def text_shares(splits: dict[str, Split]) -> list[TextShare]:
    """The shares of the tasks that encode."""
    num_bytes = sum(split.num_bytes for split in splits.values())
    most = max(MIN_SHARE_BYTES, -(-num_bytes // NUM_SHARES))
    shares = []
    for name, split in splits.items():
        cuts = [*_cuts(split, most), (len(split), 0)]
        shares += [TextShare(name, *cut, *following) for cut, following in pairwise(cuts)]
    return shares


def _cuts(split: Split, most: int) -> list[tuple[int, int]]:
    """Documents, and bytes in them, at which about so many bytes more of the split begin."""
    ends = np.cumsum(split.stops - split.starts)
    cuts = [(0, int(split.starts[0]))]
    for goal in range(most, int(ends[-1]), most):
        number = int(np.searchsorted(ends, goal, side="right"))
        if (cut := _cut_in(split, number, goal - int(ends[number]), cuts[-1])) > cuts[-1] and cut[0] < len(split):
            cuts.append(cut)
    return cuts


def _cut_in(split: Split, number: int, behind_end: int, after: tuple[int, int]) -> tuple[int, int]:
    """The beginning of a document, or of one of its chunks if it is long: near the byte so far behind its end."""
    start, stop = int(split.starts[number]), int(split.stops[number])
    if stop - start <= split_module.CHUNK_BYTES:
        return number, start
    for chunk in split.chunks(number, after[1] if after[0] == number else None):
        if chunk.last:
            break
        if chunk.stop - stop >= behind_end:
            return number, chunk.stop
    return (number + 1, int(split.starts[number + 1])) if number + 1 < len(split) else (len(split), 0)


def encode_share(folder: Path, share: TextShare, split: Split, tokenizer: Tokenizer) -> None:
    """Writes the tokens of a share into a folder of its own, unless they are there. One thread computes."""
    with built_once(folder / share.name, lambda target: (target / MANIFEST).is_file()) as working:
        if working is None:
            return
        rows, dtype = [], token_dtype(tokenizer.vocab_size)
        with (working / TOKENS_FILE).open("wb") as file:
            for chunk in split.chunks(share.number, share.start):
                if (chunk.number, chunk.stop - chunk.num_bytes) >= (share.stop_number, share.stop):
                    break
                parts = [tokenizer.fast_encoder(text) for text in tokenizer.chunks(chunk.text)]
                file.writelines(part.astype(dtype).tobytes() for part in parts)
                rows.append((chunk.number, chunk.stop, chunk.num_bytes, sum(map(len, parts)), chunk.last))
        np.array(rows, CHUNK).tofile(working / CHUNKS_FILE)
        write_json(working / MANIFEST, {"num_chunks": len(rows)})


class EncodedShares:
    """The tokens of all shares, in order."""

    def __init__(self, folder: Path, shares: Sequence[TextShare], dtype: np.dtype) -> None:
        self.folder, self.shares, self.dtype = folder, shares, dtype

    def __call__(self, name: str, split: Split, number: int, start: int | None) -> Encoded:
        """The chunks of a split without their text, from a byte of one of its documents on."""
        place = (number, -1 if start is None else start)
        for share in self.shares:
            if share.split == name and (share.stop_number, share.stop) > place:
                yield from self._chunks(share, place)

    def _chunks(self, share: TextShare, place: tuple[int, int]) -> Iterator[tuple[SplitChunk, np.ndarray]]:
        folder, at = self.folder / share.name, 0
        tokens: Any = np.fromfile(folder / TOKENS_FILE, self.dtype)
        for number, stop, num_bytes, num_tokens, last in np.fromfile(folder / CHUNKS_FILE, CHUNK).tolist():
            if (number, stop - num_bytes) >= place:
                yield SplitChunk("", number, stop, num_bytes, last), tokens[at : at + num_tokens]
            at += num_tokens
