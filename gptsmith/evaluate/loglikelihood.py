"""Log-likelihoods of continuations after their contexts, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT

TOKENS_AT_ONCE = 8192
LOGITS_AT_ONCE = 1 << 24

Pair = tuple[Sequence[int], Sequence[int]]
"""The ids of a context, at least one, and those of its continuation."""


@dataclass(frozen=True)
class ContinuationScore:
    """The log-likelihood of a continuation.

    Attributes:
        log_likelihood: the sum of ln p over its tokens.
        num_tokens: the number of its tokens.
        is_greedy: whether greedy decoding would generate it.
    """

    log_likelihood: float
    num_tokens: int
    is_greedy: bool


@torch.inference_mode()
def score_continuations(
    model: GPT,
    pairs: Sequence[Pair],
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
    observe: Callable[[int], None] = lambda _: None,
) -> list[ContinuationScore]:
    """The score of each continuation after its context, in the order of the pairs.

    A pair that is too long for the model's context window is truncated on the left, as in EleutherAI's lm-eval.
    Continuations that are predicted from the same tokens are read once.

    Args:
        tokens_at_once: about how many tokens are read in one pass.
        observe: sees the number of continuations scored so far.

    Raises:
        UserError: a continuation alone is longer than the model's context.
    """
    log_likelihoods, is_greedy = np.zeros(len(pairs)), np.ones(len(pairs), bool)
    done = 0
    for inputs, owners in _batches(model, pairs, tokens_at_once):
        hidden = model.hidden(_padded(inputs).to(model.device))
        scored = [(pair, row) for row, some in enumerate(owners) for pair in some]
        owner, rows, places, tokens = _targets(pairs, inputs, scored)
        found, is_argmax = score_tokens(model, hidden[rows, places], torch.from_numpy(tokens).to(model.device))
        np.add.at(log_likelihoods, owner, found)
        np.logical_and.at(is_greedy, owner, is_argmax)
        done += len(scored)
        observe(done)
    return [
        ContinuationScore(float(log_likelihoods[pair]), len(continuation), bool(is_greedy[pair]))
        for pair, (_, continuation) in enumerate(pairs)
    ]


@torch.inference_mode()
def score_tokens(model: GPT, hidden: Tensor, tokens: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """ln p of some tokens (N), float64, and whether each is the argmax, after hidden states (N, C)."""
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    found, argmax = [], []
    for states, wanted in zip(torch.split(hidden, at_once), torch.split(tokens, at_once), strict=True):
        logits = model.logits(states)  # (N, V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1))
        argmax.append(logits.argmax(dim=1) == wanted)
    return torch.cat(found).cpu().double().numpy(), torch.cat(argmax).cpu().numpy()


def num_truncated(context_length: int, pair: Pair) -> int:
    """The number of tokens of a pair's context that are truncated."""
    return max(0, len(pair[0]) + len(pair[1]) - 1 - context_length)


def _inputs(context_length: int, pair: Pair) -> tuple[int, ...]:
    """The tokens that the last ones of a pair are predicted from.

    Raises:
        UserError: the continuation is longer than the context.
    """
    context, continuation = pair
    assert len(context) > 0, "the first token of a continuation is predicted from a context"
    if len(continuation) > context_length:
        raise UserError(
            f"a continuation of {len(continuation)} tokens does not fit in the model's context of {context_length}"
        )
    return (*context, *continuation)[-(context_length + 1) :][:-1]


def _batches(
    model: GPT, pairs: Sequence[Pair], tokens_at_once: int
) -> Iterator[tuple[list[tuple[int, ...]], list[list[int]]]]:
    """Rows of inputs that are read together, the longest first, and the numbers of the pairs that each row scores."""
    owners: dict[tuple[int, ...], list[int]] = {}
    for number, pair in enumerate(pairs):
        owners.setdefault(_inputs(model.config.context_length, pair), []).append(number)
    rows = sorted(owners, key=len, reverse=True)
    while rows:
        some = rows[: max(1, tokens_at_once // max(1, len(rows[0])))]
        yield some, [owners[row] for row in some]
        rows = rows[len(some) :]


def _padded(inputs: Sequence[Sequence[int]]) -> Tensor:
    """Token ids (B, T). Attention is causal, so padding on the right needs no mask."""
    ids = torch.zeros(len(inputs), max(map(len, inputs)), dtype=torch.long)
    for row, each in enumerate(inputs):
        ids[row, : len(each)] = torch.tensor(each)
    return ids


def _targets(
    pairs: Sequence[Pair], inputs: Sequence[Sequence[int]], scored: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each scored token (N): its pair, the row and the place that predict it, and its id.

    Args:
        scored: the numbers of pairs, each with that of its row.
    """
    found = [
        (pair, row, len(inputs[row]) - len(pairs[pair][1]) + place, token)
        for pair, row in scored
        for place, token in enumerate(pairs[pair][1])
    ]
    owner, rows, places, tokens = np.array(found, np.int64).reshape(-1, 4).T
    return owner, rows, places, np.ascontiguousarray(tokens)
