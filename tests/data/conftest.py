"""A tokenizer of bytes, so that these tests ask little of the text room, and a way to write source files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest


class ByteTokenizer:
    """One token per byte, and an EOS token."""

    vocab_size = 257
    eos_token_id = 256
    fingerprint = hashlib.sha256(b"bytes").hexdigest()

    def __init__(self) -> None:
        self.num_encoded = 0
        self.dies_after: int | None = None

    def encode_batch(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        for text in texts:
            if self.num_encoded == self.dies_after:
                raise RuntimeError("killed")
            self.num_encoded += 1
            yield np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

    def decode(self, ids: np.ndarray) -> str:
        return bytes(ids[ids < 256].astype(np.uint8)).decode()


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a folder `source`, and gives the folder: write({"a.txt": "text", "b.txt": b"bytes"})."""

    def write_files(files: dict[str, str | bytes], folder: str = "source") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / folder

    return write_files
