"""Log-probabilities of tokens, before any setting of sampling."""

from __future__ import annotations

from torch import Tensor

from gptsmith.generate.request import TokenLogprob, TopLogprob
from gptsmith.generate.sequence import SequenceState


def sampled_logprob(sequence: SequenceState, token: int, logits: Tensor) -> TokenLogprob:
    """A token that was sampled from logits (V), with what was requested. Of tokens that the recital guard bars nothing
    is told: they would spell what it keeps back."""
    if sequence.request.top_logprobs is None:
        return TokenLogprob(token, None)
    if sequence.recital is not None:
        logits = sequence.recital.masked(logits)
    return token_logprob(token, logits, sequence.request.top_logprobs)


def token_logprob(token: int, logits: Tensor, top_logprobs: int | None) -> TokenLogprob:
    """A token with its log-probability under logits (V), and as many of the most probable ones; None requests no
    log-probability at all."""
    if top_logprobs is None:
        return TokenLogprob(token, None)
    logs = logits.log_softmax(dim=-1)
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
        sequence.prompt_recital = None if sequence.recital is None else sequence.recital.of_prompt()
        _read(sequence, ids[0])
    for row, token in enumerate(ids[start + 1 : start + 1 + len(logits)]):
        own = logits[row] if sequence.prompt_recital is None else sequence.prompt_recital.masked(logits[row])
        sequence.prompt_logprobs.append(token_logprob(token, own, request.top_logprobs))
        _read(sequence, token)


def _read(sequence: SequenceState, token: int) -> None:
    if sequence.prompt_recital is not None:
        sequence.prompt_recital.read_prompt(token)
