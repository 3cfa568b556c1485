"""What an engine is asked for, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.generate.sampling import SamplingSettings

FinishReason = Literal["stop", "length", "cancelled", "error"]
"""Why a text ended: a stop string, an end token or a finished grammar; all tokens that were asked for, or a full
context; whoever asked has gone; the engine failed."""


@dataclass(frozen=True)
class Constraint:
    """What a text must be.

    Attributes:
        kind: a JSON schema, a regular expression, a grammar in Lark's form, or any JSON object.
        source: its text; nothing for `json_object`.
        parts: what a grammar names as `@name`. Each has names and ignored white space of its own.
    """

    kind: Literal["json_schema", "regex", "grammar", "json_object"]
    source: str = ""
    parts: Mapping[str, Constraint] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A text to write.

    Attributes:
        prompt_ids: what it goes on from; at least one.
        max_tokens: the most tokens to write; 0 reads the prompt alone.
        sampling: how tokens are drawn.
        seed: with `choice` and the place of a token it decides each draw, whatever else is written at the same time.
        choice: which of several texts after one prompt this is.
        stop: strings that end the text; they are not part of it.
        stop_ids: tokens that end it, besides the tokenizer's own.
        ignore_end: whether the tokenizer's own end tokens are passed over.
        logit_bias: what is added to the logits of tokens.
        top_logprobs: how many alternatives are told with each token, with the log-probabilities before any setting of
            sampling; nothing where none are wanted, not even the token's own.
        prompt_logprobs: whether the prompt's own tokens are told with them first.
        constraint: what the text must be.
    """

    prompt_ids: Sequence[int]
    max_tokens: int
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 0
    choice: int = 0
    stop: Sequence[str] = ()
    stop_ids: frozenset[int] = frozenset()
    ignore_end: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    constraint: Constraint | None = None


@dataclass(frozen=True)
class Likely:
    """A token and its log-probability; the first of a prompt has none, because nothing stands before it."""

    id: int
    logprob: float | None


@dataclass(frozen=True)
class Told:
    """A token of a text.

    Attributes:
        token: it.
        alternatives: the likeliest tokens in its place, likeliest first; it may be among them.
    """

    token: Likely
    alternatives: Sequence[Likely] = ()


@dataclass(frozen=True)
class Piece:
    """What has come of a text since the last piece.

    Attributes:
        text: whole characters that no stop string can begin in any more.
        tokens: the tokens that were written, with log-probabilities where they were asked for. Text may be held back
            longer than the tokens that it comes from.
        prompt: the prompt's tokens, once, where they were asked for.
        finish_reason: why the text ended, in its last piece.
        error: what went wrong, where that is the reason.
    """

    text: str = ""
    tokens: Sequence[Told] = ()
    prompt: Sequence[Told] = ()
    finish_reason: FinishReason | None = None
    error: str = ""


class QueueFullError(UserError):
    """More people ask at once than the engine lets wait."""


class UnsoundConstraintError(UserError):
    """A constraint that no text could be held to.

    Attributes:
        part: the name of the part that is not sound; nothing where it has none.
    """

    def __init__(self, constraint: Constraint, problem: str, part: str = "") -> None:
        place = f"{part}: " if part else ""
        super().__init__(f"{place}{constraint.kind} is not sound: {problem.strip().splitlines()[0]}")
        self.part = part


class ContextOverflowError(UserError):
    """A prompt and what is to be written do not fit in the context.

    Attributes:
        num_prompt_tokens: the prompt's length.
        context_length: what there is room for.
    """

    def __init__(self, num_prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            f"the prompt has {num_prompt_tokens} tokens and the model's context holds {context_length}: shorten it"
        )
        self.num_prompt_tokens, self.context_length = num_prompt_tokens, context_length
