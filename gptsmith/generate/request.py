"""Requests to an engine, and its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.generate.sampling import SamplingSettings

FinishReason = Literal["stop", "length", "context", "content_filter", "cancelled", "error"]
"""Why a text ended: a stop string, an end token or a finished grammar; the most tokens that were requested; a full
context; the recital guard left no token that may follow; it was cancelled; the engine failed."""


@dataclass(frozen=True)
class Constraint:
    """The form that a text must have.

    Attributes:
        kind: a JSON schema, a regular expression, a grammar in Lark's notation, or any JSON object.
        source: its text; empty for `json_object`.
        parts: constraints that a grammar names as `@name`. Each has names and ignored white space of its own.
    """

    kind: Literal["json_schema", "regex", "grammar", "json_object"]
    source: str = ""
    parts: Mapping[str, Constraint] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A text to generate.

    Attributes:
        prompt_ids: the tokens before it; at least one.
        max_tokens: the most tokens to generate; 0 reads the prompt alone.
        sampling: how tokens are sampled.
        seed: with `choice` and the position of a token in the text it decides each sample, whatever else is generated
            at the same time.
        choice: which of several texts after one prompt this is.
        stop: strings that end the text; they are not part of it.
        stop_ids: tokens that end it, besides the tokenizer's own.
        ignore_end: whether the tokenizer's own end tokens are never sampled.
        slide: whether a full context keeps its newest half and is read anew, instead of ending the text. Of a longer
            prompt, the end is read.
        logit_bias: added to the logits of tokens.
        top_logprobs: how many of the most probable tokens are returned with each token, with the log-probabilities
            before any setting of sampling; None requests none, not even the token's own.
        prompt_logprobs: whether the prompt's own tokens are returned with theirs first.
        constraint: the form that the text must have.
    """

    prompt_ids: Sequence[int]
    max_tokens: int
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 0
    choice: int = 0
    stop: Sequence[str] = ()
    stop_ids: frozenset[int] = frozenset()
    ignore_end: bool = False
    slide: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    constraint: Constraint | None = None


@dataclass
class RequestHandle:
    """A request that was submitted.

    Attributes:
        num_prompt_tokens: the prompt's length.
        num_cached_tokens: prompt tokens that did not have to be read again; known from the first chunk on.
    """

    num_prompt_tokens: int
    num_cached_tokens: int = 0
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Ends the text within a step, wherever it is. A text that has ended stays as it is."""
        self.is_cancelled = True


@dataclass(slots=True)
class TopLogprob:
    """A token and its log-probability: None for the first of a prompt, before which nothing stands, and where none was
    requested."""

    id: int
    logprob: float | None


@dataclass(slots=True)
class TokenLogprob(TopLogprob):
    """A token of a text.

    Attributes:
        top_logprobs: the most probable tokens at its position, most probable first; it may be among them.
    """

    top_logprobs: Sequence[TopLogprob] = ()


@dataclass(slots=True)
class OutputChunk:
    """The part of a text that was generated since the last chunk.

    Attributes:
        text: whole characters in which no stop string can begin any more.
        tokens: the generated tokens, with log-probabilities if they were requested. Text may be held back longer than
            the tokens that it comes from.
        prompt: the prompt's tokens, once, if they were requested.
        finish_reason: why the text ended; None but in its last chunk.
        end_id: the end token that ended it, if one did.
        stop_string: the stop string that ended it, if one did.
        failure: the error, if that is the reason.
    """

    text: str = ""
    tokens: Sequence[TokenLogprob] = ()
    prompt: Sequence[TokenLogprob] = ()
    finish_reason: FinishReason | None = None
    end_id: int | None = None
    stop_string: str | None = None
    failure: BaseException | None = None

    @property
    def error(self) -> str:
        """The failure in words; empty if there was none."""
        return "" if self.failure is None else f"{type(self.failure).__name__}: {self.failure}"


def check_request(request: Request, vocab_size: int, context_length: int) -> None:
    """
    Raises:
        ContextOverflowError: the prompt leaves no room to generate.
        UserError: the request is not sound.
    """
    if not request.prompt_ids:
        raise UserError("a prompt needs at least one token")
    if any(not text for text in request.stop):
        raise UserError("a stop string is empty: give at least one character")
    if odd := [number for number in request.logit_bias if not 0 <= number < vocab_size]:
        raise UserError(f"logit_bias names token {odd[0]}, which this model does not have")
    needed = len(request.prompt_ids) + (1 if request.max_tokens else 0)
    if needed > context_length and not request.slide:
        raise ContextOverflowError(len(request.prompt_ids), context_length)
    if any(not 0 <= number < vocab_size for number in request.prompt_ids):
        raise UserError(f"token ids of a prompt must be from 0 to {vocab_size - 1}")


class QueueFullError(UserError):
    """The engine's queue is full."""


class InvalidConstraintError(UserError):
    """A constraint that cannot be compiled.

    Attributes:
        part: the name of the part that is not sound; empty if it has none.
    """

    def __init__(self, constraint: Constraint, problem: str, part: str = "") -> None:
        place = f"{part}: " if part else ""
        super().__init__(f"{place}{constraint.kind} is not sound: {problem.strip().splitlines()[0]}")
        self.part = part


class ContextOverflowError(UserError):
    """A prompt leaves no room to generate in the context.

    Attributes:
        num_prompt_tokens: the prompt's length.
        context_length: the most tokens that the model reads.
    """

    def __init__(self, num_prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            f"the prompt has {num_prompt_tokens} tokens and the model's context holds {context_length}: shorten it"
        )
        self.num_prompt_tokens, self.context_length = num_prompt_tokens, context_length
