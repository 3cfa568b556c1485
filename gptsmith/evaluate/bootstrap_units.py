"""The units of the bootstrap of bits per byte: the documents of a text, or blocks of it if they are few."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from gptsmith.data.corpus import Corpus
from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED, evaluation_windows, window_starts
from gptsmith.evaluate.loglikelihood import score_tokens
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.perplexity import TOKENS_PER_BATCH, LanguageScore
from gptsmith.model.gpt import GPT

MIN_DOCUMENTS = 30
NUM_BLOCKS = 100


@dataclass(frozen=True)
class UnitScores:
    """The score of each unit of a text.

    Attributes:
        scores: one per unit, in the order of the text.
        are_documents: whether each unit is a document. A text of few documents is cut into blocks of equal bytes.
    """

    scores: list[LanguageScore]
    are_documents: bool

    @property
    def whole(self) -> LanguageScore:
        """The score of the whole text."""
        return LanguageScore(
            math.fsum(score.nats for score in self.scores),
            sum(score.num_tokens for score in self.scores),
            sum(score.num_bytes for score in self.scores),
        )

    @property
    def metric(self) -> Metric:
        """Bits per byte, over units."""
        outcomes = np.array([(score.nats, score.num_bytes) for score in self.scores])
        return Metric("bits_per_byte", outcomes, _bits_per_byte)


@torch.inference_mode()
def score_units(
    model: GPT,
    stream: TokenStream,
    num_bytes_per_token: np.ndarray,
    *,
    max_tokens: int | None = None,
    observe: Callable[[int], None] = lambda _: None,
) -> UnitScores:
    """How well `model` predicts the units of a stream, in the same windows as `score_language`.

    The units are the same for every tokenizer.

    Args:
        num_bytes_per_token: (V), the bytes of text that each token stands for.
        max_tokens: about so many are scored, in windows spread evenly over the stream: what is scored of a document, or
            as many blocks of that, are the units then. All if None.
        observe: sees the number of tokens scored so far.
    """
    context = model.config.context_length
    are_documents = len(stream.documents) >= MIN_DOCUMENTS
    sums = np.zeros((len(stream.documents) if are_documents else NUM_BLOCKS, 3))  # nats, tokens, bytes
    starts = np.array(window_starts(len(stream), context, max_tokens))
    total_bytes = stream.num_bytes * min(1.0, len(starts) * context / len(stream))  # about, where not all is scored
    num_rows = num_tokens = num_bytes = 0
    for input_ids, targets in evaluation_windows(stream, context, max(1, TOKENS_PER_BATCH // context), max_tokens):
        is_scored = targets != IGNORED
        tokens = targets[is_scored]
        hidden = model.hidden(torch.from_numpy(input_ids).to(model.device))
        states = hidden[torch.from_numpy(is_scored).to(model.device)]  # (N, C)
        found, _ = score_tokens(model, states, torch.from_numpy(tokens).to(model.device))
        sizes = num_bytes_per_token[tokens]
        if are_documents:
            rows = starts[num_rows : num_rows + len(targets), None]
            places = (rows + np.arange(targets.shape[1]))[is_scored].astype(np.uint64)
            units = np.searchsorted(stream.document_ends, places, side="right")
        else:
            begins = num_bytes + sizes.cumsum() - sizes
            units = np.minimum(begins * NUM_BLOCKS / max(total_bytes, 1), NUM_BLOCKS - 1).astype(np.int64)
        num_rows += len(targets)
        np.add.at(sums, units, np.stack([-found, np.ones(len(tokens)), sizes], axis=1))
        num_tokens, num_bytes = num_tokens + len(tokens), num_bytes + int(sizes.sum())
        observe(num_tokens)
    if max_tokens is not None:
        sums = sums[sums[:, 1] > 0]
    return UnitScores(
        [LanguageScore(nats, int(count), int(size)) for nats, count, size in sums.tolist()], are_documents
    )


def unit_texts(stream: TokenStream, corpus: Corpus) -> list[str]:
    """The text of each unit of a stream of documents of a corpus. Blocks are cut at bytes: none has a character that is
    cut."""
    documents = [corpus.read(int(row["start"]), int(row["stop"])) for row in stream.documents]
    if len(documents) < MIN_DOCUMENTS:
        text = b"".join(documents)
        cuts = [-(-len(text) * number // NUM_BLOCKS) for number in range(NUM_BLOCKS + 1)]
        documents = [text[start:stop] for start, stop in pairwise(cuts)]
    return [document.decode("utf-8", "ignore") for document in documents]


def _bits_per_byte(outcomes: np.ndarray) -> float:
    """Bits per byte of units (N, 2) of nats and bytes."""
    nats, num_bytes = outcomes.sum(axis=0)
    return float(nats / math.log(2) / max(num_bytes, 1))
