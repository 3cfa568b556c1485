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
class TopLogprob:
    """A token and its log-probability: None for the first of a prompt, before which nothing stands, and where none was
    requested."""

    id: int
    logprob: float | None


@dataclass(frozen=True)
class TokenLogprob(TopLogprob):
    """A token of a text.

    Attributes:
        top_logprobs: the most probable tokens at its position, most probable first; it may be among them.
    """

    top_logprobs: Sequence[TopLogprob] = ()


@dataclass(frozen=True)
class OutputChunk:
    """The part of a text that was generated since the last chunk.

    Attributes:
        text: whole characters in which no stop string can begin any more.
        tokens: the generated tokens, with log-probabilities if they were requested. Text may be held back longer than
            the tokens that it comes from.
        prompt: the prompt's tokens, once, if they were requested.
        finish_reason: why the text ended; None but in its last chunk.
        error: the failure, if that is the reason.
    """

    text: str = ""
    tokens: Sequence[TokenLogprob] = ()
    prompt: Sequence[TokenLogprob] = ()
    finish_reason: FinishReason | None = None
    error: str = ""


class QueueFullError(UserError):
    """More people ask at once than the engine lets wait."""


class InvalidConstraintError(UserError):
    """A constraint that cannot be compiled.

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
