"""Token shards on disk: little-endian integers with a table of documents, and the stream over them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.console import meter as console_meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, readable_bytes, require_room, sha256_of, sync_file, write_json
from gptsmith.data.cache import MANIFEST, Hold, Journal, built_once
from gptsmith.data.corpus import MeterFactory
from gptsmith.data.splits import Split, SplitChunk, Splits
from gptsmith.text.tokenizer import Tokenizer

FORMAT_VERSION = 1
SHARD_TOKENS = 1 << 24
LARGEST_16_BIT_VOCABULARY = 1 << 16

# One row per document: where its tokens end in the stream, its number in the corpus, its bytes in documents.bin.
DOCUMENT = np.dtype([("end", "<u8"), ("document", "<u8"), ("start", "<u8"), ("stop", "<u8")])


class TokenStream:
    """The tokens of a split as one long sequence, memory-mapped. Every document ends in an EOS token."""

    def __init__(self, folder: Path, name: str, opened: Callable[[str], Path] | None = None) -> None:
        """
        Args:
            folder: has the manifest.
            name: the split.
            opened: the path of a file of the folder, given its name, when it is first read.
        """
        self.folder, self.hold = folder, Hold(folder)
        self._opened = opened or folder.joinpath
        figures = read_json(folder / MANIFEST)["streams"][name]
        self.num_bytes: int = figures["num_bytes"]
        """The size of the text in UTF-8."""
        self.num_documents: int = figures["num_documents"]
        self.files: list[dict[str, Any]] = figures["files"]
        self._dtype = np.dtype(figures["dtype"])
        self._shards: dict[int, np.ndarray] = {}
        self.starts = np.cumsum([0, *(file["num_bytes"] // self._dtype.itemsize for file in self.files[:-1])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def shard(self, number: int) -> np.ndarray:
        """The tokens of one shard."""
        if number not in self._shards:
            path = self._opened(self.files[number]["name"])
            self._shards[number] = np.memmap(path, dtype=self._dtype, mode="r")
        return self._shards[number]

    @property
    def shards(self) -> list[np.ndarray]:
        """The tokens of all shards."""
        return [self.shard(number) for number in range(self.num_shards)]

    @property
    def num_shards(self) -> int:
        return len(self.files) - 1

    @cached_property
    def documents(self) -> np.ndarray:
        """One row per document, as `DOCUMENT` describes it."""
        return np.memmap(self._opened(self.files[-1]["name"]), dtype=DOCUMENT, mode="r")

    @property
    def document_ends(self) -> np.ndarray:
        """The position after every document's EOS token (uint64)."""
        return self.documents["end"]

    def document_at(self, position: int) -> int:
        """The number in the corpus of the document that a token, on the ring, belongs to."""
        row = int(np.searchsorted(self.document_ends, position % len(self), side="right"))
        return int(self.documents["document"][row])

    def slice(self, start: int, stop: int, *, circular: bool = False) -> np.ndarray:
        """Tokens `start` to `stop` as int64. With `circular` the stream is a ring, and any position is one of it."""
        if circular and (start < 0 or stop > len(self)):
            whole_turns = start // len(self) * len(self)
            start, stop = start - whole_turns, stop - whole_turns
            parts = []
            while start < stop:
                parts.append(self.slice(start, min(stop, len(self))))
                start, stop = 0, stop - len(self)
            return np.concatenate(parts) if parts else np.empty(0, np.int64)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of {len(self)}")
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        parts = []
        for number in range(first, self.num_shards):
            begin = self.starts[number]
            if begin >= stop:
                break
            parts.append(self.shard(number)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def verify(self) -> list[str]:
        """The names of files that are not as they were written, by their SHA-256; reads everything."""
        return [file["name"] for file in self.files if sha256_of(self._opened(file["name"])) != file["sha256"]]


Encoded = Iterator[tuple[SplitChunk, np.ndarray]]
"""Chunks of a split, each with its tokens."""


def write_shards(
    target: Path,
    splits: Splits,
    tokenizer: Tokenizer,
    meter: MeterFactory = console_meter,
    encoded: Callable[[str, Split, int, int | None], Encoded] | None = None,
) -> tuple[TokenStream, TokenStream | None]:
    """The streams of splits, written to `target` or found there whole; an interrupted writing is resumed.

    Args:
        encoded: gives the chunks of a split, by its name, from a byte of one of its documents on (see `Split.chunks`);
            by default they are encoded here.

    Raises:
        UserError: the disk is full.
    """
    by_name = {"train": splits.train} | ({"validation": splits.validation} if splits.validation is not None else {})
    with built_once(target, is_whole) as working:
        if working is not None:
            num_bytes = sum(split.num_bytes for split in by_name.values())
            journal = Journal(working / "journal.jsonl")
            _require_room(working, splits.train, num_bytes, tokenizer)
            with meter("encoding", num_bytes, count=False) as bar:
                done = 0
                streams = {}
                for name, split in by_name.items():
                    writer = _Writer(working, name, split, tokenizer, journal, encoded)
                    for written in writer.run():
                        bar.update(done + written, readable_bytes(done + written))
                    done += split.num_bytes
                    streams[name] = writer.figures()
            write_json(
                working / MANIFEST,
                {
                    "format_version": FORMAT_VERSION,
                    "corpus": splits.train.corpus.folder.name,
                    "tokenizer": tokenizer.fingerprint,
                    "streams": streams,
                },
            )
            journal.path.unlink(missing_ok=True)
    return opened_shards(target)


def opened_shards(folder: Path) -> tuple[TokenStream, TokenStream | None]:
    """The streams in a folder that is whole; None for no validation."""
    names = read_json(folder / MANIFEST)["streams"]
    return TokenStream(folder, "train"), TokenStream(folder, "validation") if "validation" in names else None


def is_whole(folder: Path) -> bool:
    """Whether every file of the manifest is there in its size."""
    try:
        streams = read_json(folder / MANIFEST)["streams"].values()
        files = [file for stream in streams for file in stream["files"]]
        return all((folder / file["name"]).stat().st_size == file["num_bytes"] for file in files)
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False


def token_dtype(vocab_size: int) -> np.dtype:
    """Two bytes per token if the vocabulary allows it, else four."""
    return np.dtype("<u2" if vocab_size <= LARGEST_16_BIT_VOCABULARY else "<u4")


def _require_room(folder: Path, split: Split, num_bytes: int, tokenizer: Tokenizer) -> None:
    """Check the room for the tokens, by an estimate from the first chunk."""
    sample = next(split.chunks()).text[:100_000]
    (tokens,) = tokenizer.encode_batch([sample])
    per_byte = len(tokens) / len(sample.encode())
    itemsize = token_dtype(tokenizer.vocab_size).itemsize
    require_room(folder, int(1.1 * num_bytes * per_byte * itemsize), "the token files")


@dataclass
class _State:
    """Progress within a stream: the start of the next shard."""

    num_tokens: int = 0
    num_documents: int = 0
    number: int = 0
    start: int | None = None


class _Writer:
    """Writes the shards of one split, resuming after the last one in the journal."""

    def __init__(
        self,
        folder: Path,
        name: str,
        split: Split,
        tokenizer: Tokenizer,
        journal: Journal,
        encoded: Callable[[str, Split, int, int | None], Encoded] | None,
    ) -> None:
        self.folder, self.name, self.split, self.tokenizer, self.journal = folder, name, split, tokenizer, journal
        self.encoded = encoded
        self.dtype = token_dtype(tokenizer.vocab_size)
        entries = [entry for entry in journal.entries() if entry["stream"] == name]
        self.files: list[dict[str, Any]] = [entry["file"] for entry in entries]
        self.state = _State(**entries[-1]["state"]) if entries else _State()
        self.table = folder / f"{name}.documents"

    def run(self) -> Iterator[int]:
        """Write the missing shards and yield the number of bytes of text that are done."""
        if self.state.number == len(self.split):
            return
        self.table.touch()
        with self.table.open("r+b") as table:
            table.seek(self.state.num_documents * DOCUMENT.itemsize)
            table.truncate()
            encoded = self._encoded()
            done = int((self.split.stops - self.split.starts)[: self.state.number].sum())
            while self.state.number < len(self.split):
                name = f"{self.name}-{len(self.files):05d}.tokens"
                shard_end = self.state.num_tokens + SHARD_TOKENS
                with (self.folder / name).open("wb") as shard:
                    for chunk, tokens in encoded:
                        shard.write(tokens.astype(self.dtype).tobytes())
                        done += chunk.num_bytes
                        self._advance(chunk, len(tokens), table, shard)
                        yield done
                        if self.state.num_tokens >= shard_end:
                            break
                    else:
                        assert self.state.number == len(self.split), "the tokenizer returned fewer texts than it read"
                self._commit(name, table)

    def _encoded(self) -> Encoded:
        """The chunks that are left, each with its tokens. The tokenizer may read ahead of what it has encoded."""
        if self.encoded is not None:
            yield from self.encoded(self.name, self.split, self.state.number, self.state.start)
            return
        ahead: deque[SplitChunk] = deque()

        def texts() -> Iterator[str]:
            for chunk in self.split.chunks(self.state.number, self.state.start):
                ahead.append(chunk)
                yield chunk.text

        for tokens in self.tokenizer.encode_batch(texts()):
            yield ahead.popleft(), tokens

    def _advance(self, chunk: SplitChunk, num_tokens: int, table: Any, shard: Any) -> None:
        state = self.state
        if not chunk.last:
            self.state = _State(state.num_tokens + num_tokens, state.num_documents, chunk.number, chunk.stop)
            return
        shard.write(np.array([self.tokenizer.eos_token_id], self.dtype).tobytes())
        end, split, number = state.num_tokens + num_tokens + 1, self.split, chunk.number
        row = (end, split.documents[number], split.starts[number], split.stops[number])
        table.write(np.array([row], DOCUMENT).tobytes())
        self.state = _State(end, state.num_documents + 1, number + 1)

    def _commit(self, name: str, table: Any) -> None:
        table.flush()
        sync_file(self.table)
        sync_file(self.folder / name)
        self.files.append(_file(self.folder / name))
        self.journal.append({"stream": self.name, "file": self.files[-1], "state": vars(self.state)})

    def figures(self) -> dict[str, Any]:
        return {
            "num_tokens": self.state.num_tokens,
            "num_documents": self.state.num_documents,
            "num_bytes": self.split.num_bytes,
            "dtype": self.dtype.str,
            "files": [*self.files, _file(self.table)],
        }


def _file(path: Path) -> dict[str, Any]:
    return {"name": path.name, "num_bytes": path.stat().st_size, "sha256": sha256_of(path)}
