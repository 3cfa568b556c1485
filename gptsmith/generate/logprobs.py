"""Log-probabilities of tokens, before any setting of sampling."""

from __future__ import annotations

from torch import Tensor

from gptsmith.generate.request import TokenLogprob, TopLogprob
from gptsmith.generate.sequence import SequenceState


def token_logprob(token: int, logits: Tensor, row: int, top_logprobs: int | None) -> TokenLogprob:
    """A token with its log-probability under one row of `logits` (M, V), and as many of the most probable ones; None
    requests no log-probability at all."""
    if top_logprobs is None:
        return TokenLogprob(token, None)
    logs = logits[row].log_softmax(dim=-1)
    top: list[TopLogprob] = []
    if top_logprobs:
        values, ids = logs.topk(min(top_logprobs, len(logs)))
        top = [TopLogprob(other, value) for other, value in zip(ids.tolist(), values.tolist(), strict=True)]
    return TokenLogprob(token, float(logs[token]), top)


def collect_prompt_logprobs(sequence: SequenceState, start: int, logits: Tensor) -> None:
    """Keeps the log-probabilities of a prompt's own tokens, if they were requested, given the logits (T, V) after the
    tokens from position `start` on."""
    request = sequence.request
    if not request.prompt_logprobs or sequence.output_ids:
        return
    ids = sequence.ids
    if start == 0:
        sequence.prompt_logprobs.append(TokenLogprob(ids[0], None))
    for row, token in enumerate(ids[start + 1 : start + 1 + len(logits)]):
        sequence.prompt_logprobs.append(token_logprob(token, logits, row, request.top_logprobs))
