"""How well a model predicts a text: cross-entropy in nats per token, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED, evaluation_windows
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes

TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class LanguageScore:
    """The sum of -ln p over tokens, and what it was summed over."""

    nats: float
    num_tokens: int
    num_bytes: int

    @property
    def validation_loss(self) -> float:
        """The cross-entropy in nats per token."""
        return self.nats / self.num_tokens

    @property
    def perplexity(self) -> float:
        """e to the power of the cross-entropy."""
        return math.exp(self.validation_loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of UTF-8: comparable between models whose tokenizers differ."""
        return self.nats / math.log(2) / max(self.num_bytes, 1)


@torch.inference_mode()
def score_language(
    model: GPT,
    stream: TokenStream,
    num_bytes_per_token: np.ndarray,
    *,
    max_tokens: int | None = None,
    observe: Callable[[int], None] = lambda _: None,
    processes: Processes = SINGLE_PROCESS,
) -> LanguageScore:
    """How well `model` predicts a stream, in fixed windows as long as its context (of 4,096 tokens if it is longer),
    every token counted once.

    Args:
        num_bytes_per_token: (V), the bytes of text that each token stands for.
        max_tokens: read about this many, spread evenly over the stream; all of them if None.
        observe: sees the number of tokens scored so far.
        processes: those that divide the work; all must call, and all get the same score.
    """
    context = min(model.config.context_length, TOKENS_PER_BATCH)
    nats, num_tokens, num_bytes = 0.0, 0, 0
    windows = evaluation_windows(stream, context, max(1, TOKENS_PER_BATCH // context), max_tokens)
    while batches := list(islice(windows, processes.world_size)):
        input_ids, targets = batches[processes.rank % len(batches)]
        if processes.rank >= len(batches):  # it keeps in step with the others, because a divided model asks for all
            targets = np.full_like(targets, IGNORED)
        hidden = model.hidden(torch.from_numpy(input_ids).to(model.device))
        wanted = torch.from_numpy(targets).to(model.device)
        nats += float(model.cross_entropy(hidden, wanted))
        scored = targets[targets != IGNORED]
        num_tokens += len(scored)
        num_bytes += int(num_bytes_per_token[scored].sum())
        observe(num_tokens * processes.world_size)
    nats, total_tokens, total_bytes = processes.all_reduce_sum([nats, num_tokens, num_bytes])
    return LanguageScore(nats, int(total_tokens), int(total_bytes))
