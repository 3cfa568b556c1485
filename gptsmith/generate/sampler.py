"""The logits of a pass, and the next token of several sequences, each from its row of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptsmith.generate.sampling import SamplingSettings, apply_penalties, sample_from_uniform, uniform
from gptsmith.generate.scheduler import ScheduledTokens
from gptsmith.generate.sequence import SequenceState


def scheduled_logits(
    logits: Callable[[Tensor], Tensor], scheduled: Sequence[ScheduledTokens], hidden: Tensor
) -> Tensor:
    """The logits (M, V), float32, after those tokens of a pass after which something is sampled or reported, given the
    hidden states (N, C) of all; sets the rows of each sequence."""
    wanted: list[int] = []
    start = 0
    for each in scheduled:
        count, num_rows = each.segment.count, 0
        if each.is_decoding or each.sequence.request.prompt_logprobs:
            num_rows = count
        elif each.segment.end == len(each.sequence.ids):
            num_rows = 1
        each.rows = range(len(wanted), len(wanted) + num_rows)
        start += count
        wanted += range(start - num_rows, start)
    if not wanted:
        return hidden[:0].float()
    return logits(hidden if len(wanted) == len(hidden) else hidden[wanted]).float()


Rows = Sequence[tuple[SequenceState, int]]


def sample_tokens(logits: Tensor, rows: Rows, ignored_ids: frozenset[int]) -> list[int | Exception]:
    """A token for each sequence, or the error of a sequence for which none can be sampled.

    Args:
        logits: (M, V).
        rows: sequences, each with its row of the logits. Those of equal settings are sampled together.
        ignored_ids: tokens that a sequence with `ignore_end` never has.
    """
    tokens: list[int | Exception] = [0] * len(rows)
    groups: dict[SamplingSettings, list[int]] = {}
    for number, (sequence, _) in enumerate(rows):
        groups.setdefault(sequence.request.sampling, []).append(number)
    for sampling, numbers in groups.items():
        own = [rows[number] for number in numbers]
        for number, token in zip(numbers, _sample_isolated(logits, own, sampling, ignored_ids), strict=True):
            tokens[number] = token
    return tokens


def _sample_isolated(
    logits: Tensor, rows: Rows, sampling: SamplingSettings, ignored_ids: frozenset[int]
) -> Sequence[int | Exception]:
    """`_sample` of several sequences; if that fails, of each alone, so that the error stays with its own."""
    try:
        return _sample(logits, rows, sampling, ignored_ids)
    except Exception as error:
        if len(rows) == 1:
            return [error]
    return [token for row in rows for token in _sample_isolated(logits, [row], sampling, ignored_ids)]


def _sample(logits: Tensor, rows: Rows, sampling: SamplingSettings, ignored_ids: frozenset[int]) -> list[int]:
    """A token for each of several sequences of equal settings."""
    processed = _processed(logits, rows, ignored_ids)
    uniforms = () if sampling.is_greedy else [_uniform(sequence) for sequence, _ in rows]
    tokens: list[int] = sample_from_uniform(processed, sampling, uniforms).tolist()
    return tokens


def _uniform(sequence: SequenceState) -> float:
    request = sequence.request
    return uniform(request.seed, request.choice, len(sequence.output_ids))


def _processed(logits: Tensor, rows: Rows, ignored_ids: frozenset[int]) -> Tensor:
    """The rows of logits that sequences are sampled from, changed as they request."""
    numbers = [row for _, row in rows]
    chosen = logits if numbers == list(range(len(logits))) else logits[numbers]
    changed = {
        number: process_logits(chosen[number], sequence, ignored_ids)
        for number, (sequence, _) in enumerate(rows)
        if _is_changed(sequence, ignored_ids)
    }
    if changed:
        chosen = torch.stack([changed.get(number, own) for number, own in enumerate(chosen)])
    return chosen


def _is_changed(sequence: SequenceState, ignored_ids: frozenset[int]) -> bool:
    request = sequence.request
    requested = request.sampling.has_penalties or request.logit_bias or (request.ignore_end and ignored_ids)
    is_guarded = sequence.recital is not None and len(sequence.recital.barred) > 0
    return bool(requested) or sequence.grammar is not None or is_guarded


def process_logits(logits: Tensor, sequence: SequenceState, ignored_ids: frozenset[int]) -> Tensor:
    """One row's logits (V) with penalties and biases; minus infinity for tokens that may not follow.

    Raises:
        NothingToWriteError: the recital guard bars all that might.
    """
    request = sequence.request
    if request.sampling.has_penalties:
        logits = apply_penalties(logits, request.sampling, request.prompt_ids, sequence.output_ids)
    if request.logit_bias:
        logits = logits.clone()
        tokens = torch.tensor(list(request.logit_bias), device=logits.device)
        logits[tokens] += torch.tensor(list(request.logit_bias.values()), device=logits.device)
    if request.ignore_end and ignored_ids:
        logits = logits.clone()
        logits[sorted(ignored_ids)] = float("-inf")
    if sequence.grammar is not None:
        logits = logits.masked_fill(~sequence.grammar.allowed_tokens().to(logits.device), float("-inf"))
    return logits if sequence.recital is None else sequence.recital.masked(logits)
