"""The units of a text sum up to the whole, and are the same for every tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import window_starts
from gptsmith.evaluate.bootstrap_units import MIN_DOCUMENTS, NUM_BLOCKS, UnitScores, score_units
from gptsmith.evaluate.perplexity import score_language
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

SENTENCE = "The old smith forges a nail of iron. "


def stream_of(folder: Path, texts: list[str], tokenizer: Tokenizer) -> TokenStream:
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return prepare([folder], settings=DataSettings(validation_fraction=0.0), tokenizer=tokenizer, seed=0).train


def scored(stream: TokenStream, tokenizer: Tokenizer, model: GPT) -> UnitScores:
    return score_units(model, stream, tokenizer.num_bytes_per_token)


@torch.no_grad()
def plain_nats(model: GPT, stream: TokenStream) -> list[float]:
    """-ln p of each token, window by window."""
    context, found = model.config.context_length, []
    for start in range(0, len(stream), context):
        ids = stream.slice(start - 1, min(start + context, len(stream)), circular=True)
        logits = model(torch.from_numpy(ids[None, :-1]))[0].log_softmax(dim=-1)
        found += [-float(row[token]) for row, token in zip(logits, ids[1:], strict=True)]
    return found


def test_of_many_documents_each_is_a_piece(
    tmp_path: Path, bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]
) -> None:
    texts = [f"{number} " + SENTENCE * (1 + number % 4) for number in range(MIN_DOCUMENTS)]
    stream, model = stream_of(tmp_path / "many", texts, bpe), make_model(bpe)
    units = scored(stream, bpe, model)
    assert units.are_documents
    ends, nats = [0, *stream.document_ends.tolist()], plain_nats(model, stream)
    assert [score.num_tokens for score in units.scores] == np.diff(ends).tolist()
    assert sum(score.num_bytes for score in units.scores) == stream.num_bytes
    for start, stop, score in zip(ends[:-1], ends[1:], units.scores, strict=True):
        assert score.nats == pytest.approx(math.fsum(nats[start:stop]), rel=1e-9)


def test_a_text_of_few_documents_is_cut_into_blocks_of_equal_bytes(
    tmp_path: Path, bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]
) -> None:
    stream, model = stream_of(tmp_path / "few", [SENTENCE * 60, SENTENCE * 40], bpe), make_model(bpe)
    units = scored(stream, bpe, model)
    assert not units.are_documents
    assert len(units.scores) == NUM_BLOCKS
    sizes = bpe.num_bytes_per_token[stream.slice(0, len(stream))]
    starts = np.cumsum(sizes) - sizes
    nats = [0.0] * NUM_BLOCKS
    for start, each in zip(starts.tolist(), plain_nats(model, stream), strict=True):
        nats[min(start * NUM_BLOCKS // stream.num_bytes, NUM_BLOCKS - 1)] += each
    assert [score.nats for score in units.scores] == pytest.approx(nats, rel=1e-9)
    even, longest = stream.num_bytes / NUM_BLOCKS, int(sizes.max())
    assert all(abs(score.num_bytes - even) <= longest for score in units.scores)


@pytest.mark.parametrize("num_documents", [2, MIN_DOCUMENTS])
def test_the_whole_is_the_score_of_the_language(
    tmp_path: Path, num_documents: int, bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]
) -> None:
    stream = stream_of(tmp_path / "texts", [SENTENCE * (20 + n) for n in range(num_documents)], bpe)
    model, seen = make_model(bpe), []
    units = score_units(model, stream, bpe.num_bytes_per_token, observe=seen.append)
    whole, expected = units.whole, score_language(model, stream, bpe.num_bytes_per_token)
    assert whole.nats == pytest.approx(expected.nats, rel=1e-9)
    assert (whole.num_tokens, whole.num_bytes) == (expected.num_tokens, expected.num_bytes)
    assert units.metric.statistic(units.metric.outcomes) == pytest.approx(expected.bits_per_byte, rel=1e-9)
    assert seen[-1] == len(stream)


@pytest.mark.parametrize("num_documents", [2, MIN_DOCUMENTS])
def test_pieces_are_the_same_for_every_tokenizer(
    tmp_path: Path,
    num_documents: int,
    bpe: Tokenizer,
    characters: Tokenizer,
    make_model: Callable[[Tokenizer], GPT],
) -> None:
    texts = [f"{number} " + SENTENCE * (20 + number % 5) for number in range(num_documents)]
    sizes = []
    for tokenizer in (bpe, characters):
        stream = stream_of(tmp_path / "texts", texts, tokenizer)
        sizes.append([score.num_bytes for score in scored(stream, tokenizer, make_model(tokenizer)).scores])
    longest = int(bpe.num_bytes_per_token.max())
    slack = 0 if num_documents == MIN_DOCUMENTS else longest
    assert all(abs(one - other) <= slack for one, other in zip(*sizes, strict=True))


@pytest.mark.parametrize("num_documents", [MIN_DOCUMENTS, 2])
def test_of_a_long_text_a_part_from_all_over_it_is_scored(
    num_documents: int, tmp_path: Path, bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]
) -> None:
    texts = [f"{number} " + SENTENCE * (600 // num_documents) for number in range(num_documents)]
    stream, model = stream_of(tmp_path / "part", texts, bpe), make_model(bpe)
    context = model.config.context_length
    most = len(stream) // 3
    units = score_units(model, stream, bpe.num_bytes_per_token, max_tokens=most)
    assert units.are_documents == (num_documents == MIN_DOCUMENTS)
    nats = plain_nats(model, stream)
    starts = window_starts(len(stream), context, most)
    assert starts[-1] > 0.6 * len(stream)
    places = [place for start in starts for place in range(start, min(start + context, len(stream)))]
    assert units.whole.num_tokens == len(places) <= most
    assert units.whole.nats == pytest.approx(math.fsum(nats[place] for place in places), rel=1e-9)
    if units.are_documents:
        owners = np.searchsorted(stream.document_ends, np.array(places, np.uint64), side="right")
        assert [score.num_tokens for score in units.scores] == np.unique(owners, return_counts=True)[1].tolist()
    else:
        assert len(units.scores) > 0.9 * NUM_BLOCKS
