"""Token shards: what is in them, going on after a crash, damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptsmith.data import shards as tokens
from gptsmith.data import splits as split_module
from gptsmith.data.corpus import read_corpus
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream, token_dtype, write_shards
from gptsmith.data.splits import Splits, split_corpus


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "CHUNK_BYTES", 300)
    monkeypatch.setattr(tokens, "SHARD_TOKENS", 500)


@pytest.fixture
def splits(write: Callable[..., Path], tmp_path: Path) -> Splits:
    files = {f"{n}.txt": f"Zürich {n} " * (40 + n) for n in range(10)}
    settings = DataSettings(validation_fraction=0.2)
    return split_corpus(read_corpus([write(files)], settings, tmp_path / "cache"), settings, 1)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.usefixtures("small")
def test_tokens_are_the_corpus_with_an_eos_token_after_every_document(
    splits: Splits, tokenizer: Any, tmp_path: Path
) -> None:
    assert splits.validation is not None
    for stream, split in zip(
        write_shards(tmp_path / "tokens", splits, tokenizer), (splits.train, splits.validation), strict=True
    ):
        assert stream is not None
        assert len(stream.shards) > 1
        assert stream.num_bytes == split.num_bytes
        assert len(stream) == split.num_bytes + len(split)
        assert stream.document_ends[-1] == len(stream)
        begin = 0
        for row in stream.documents:
            ids = stream.slice(begin, int(row["end"]))
            assert ids.dtype == np.int64
            assert ids[-1] == tokenizer.eos_token_id
            assert (ids[:-1] != tokenizer.eos_token_id).all()
            text = split.corpus.read(int(row["start"]), int(row["stop"])).decode()
            assert tokenizer.decode(ids) == text
            assert text in split.corpus.text(int(row["document"]))
            begin = int(row["end"])


@pytest.mark.usefixtures("small")
def test_writing_resumes_after_a_crash_and_gives_the_same_bytes(splits: Splits, tokenizer: Any, tmp_path: Path) -> None:
    write_shards(tmp_path / "whole", splits, tokenizer)
    needed, tokenizer.num_encoded = tokenizer.num_encoded, 0
    attempts = 0
    while True:
        tokenizer.dies_after = tokenizer.num_encoded + 9
        try:
            write_shards(tmp_path / "resumed", splits, tokenizer)
            break
        except RuntimeError:
            attempts += 1
            assert attempts < 50
    assert attempts > 3
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "whole")
    # A crash costs at most the shard that was not finished.
    assert tokenizer.num_encoded <= needed + 8 * attempts


def test_it_is_found_again(splits: Splits, tokenizer: Any, tmp_path: Path) -> None:
    write_shards(tmp_path / "tokens", splits, tokenizer)
    tokenizer.dies_after = tokenizer.num_encoded
    write_shards(tmp_path / "tokens", splits, tokenizer)


def test_a_flipped_bit_is_noticed_and_a_short_file_built_again(splits: Splits, tokenizer: Any, tmp_path: Path) -> None:
    target = tmp_path / "tokens"
    stream, _ = write_shards(target, splits, tokenizer)
    assert stream.verify() == []
    before = files_of(target)
    for name in ("train-00000.tokens", "train.documents"):
        damaged = bytearray(before[name])
        damaged[17] ^= 4
        (target / name).write_bytes(damaged)
        assert TokenStream(target, "train").verify() == [name]
        (target / name).write_bytes(before[name][:-1])
        write_shards(target, splits, tokenizer)
        assert files_of(target) == before


def test_two_bytes_a_token_up_to_65536_words() -> None:
    assert token_dtype(65_536) == np.dtype("<u2")
    assert token_dtype(65_537) == np.dtype("<u4")


@pytest.mark.usefixtures("small")
def test_slices_across_shards_and_around_the_ring(splits: Splits, tokenizer: Any, tmp_path: Path) -> None:
    stream, _ = write_shards(tmp_path / "tokens", splits, tokenizer)
    everything = np.concatenate(stream.shards).astype(np.int64)
    size = len(stream)
    generator = np.random.default_rng(0)
    for start, stop in np.sort(generator.integers(0, size + 1, (200, 2))):
        assert (stream.slice(start, stop) == everything[start:stop]).all()
    for start, length in zip(
        generator.integers(-2 * size, 2 * size, 50), generator.integers(0, 2 * size, 50), strict=True
    ):
        expected = everything[np.arange(start, start + length) % size]
        assert (stream.slice(start, start + length, circular=True) == expected).all()
    for start, stop in ((-1, 3), (0, size + 1), (4, 3)):
        with pytest.raises(IndexError):
            stream.slice(start, stop)
