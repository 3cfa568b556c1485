"""How large a model, how many tokens, how large a batch, for a time or a number of tokens. All can be overruled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.presets import smith_shape
from gptsmith.train.planning.scaling_law import (
    FITTED_TOKENS,
    INTERVAL,
    SHORT_RUN_INTERVAL,
    expected_bits_per_byte,
)

DEFAULT_TRAINING_FLOPS = 2e13
"""The cost of a run by default: a few minutes on two CPU cores."""
TOKENS_PER_PARAMETER = 2.5
"""Per parameter of the blocks, if nothing was measured."""
USEFUL_EPOCHS = 3.3
"""After more, the validation loss rises: a model learns the text by heart (LOG.md)."""
ENOUGH_STEPS, MAX_EPOCHS = 600, 40
"""A text that is too short for so many steps in its useful epochs is repeated until it has them, at most so often."""
PARAMETERS_PER_TOKEN = 12
"""Blocks with more parameters per token of the text were not tried (LOG.md)."""
STEPS_WANTED = 1500
TOKENS_PER_STEP = 1024
LARGEST_STEP = 2**19
"""Of a small run and of the largest: steps grow in powers of two, for about as many steps."""
LEAST_STEPS = 40
"""Fewer steps than this are no training."""
EPOCHS_BEFORE_DROPOUT = 5
DROPOUT = 0.1
SHAPES = (
    (128, 4), (192, 4), (256, 4), (320, 5), (384, 6), (512, 8), (640, 10), (768, 12), (1024, 16), (1280, 20),
    (1536, 24), (2048, 24), (2560, 32), (3072, 32), (4096, 32),
)  # fmt: skip
"""Widths and layers of the default model that a plan chooses from."""


@dataclass(frozen=True)
class Corpus:
    """The properties of the text that a plan depends on."""

    num_tokens: int
    num_bytes: int
    difficulty: float
    """Bits per byte by n-gram counts: see `gptsmith.train.planning.scaling_law`."""

    @property
    def bytes_per_token(self) -> float:
        return self.num_bytes / max(self.num_tokens, 1)


@dataclass(frozen=True)
class Plan:
    """The shape of a model, and how many tokens it is trained on."""

    model: dict[str, Any]
    """Settings of the model's shape."""
    num_tokens: int
    """Tokens to train on."""
    tokens_per_step: int
    compiles: bool = False
    """Whether blocks are computed by compiled code."""

    @property
    def num_steps(self) -> int:
        return max(1, round(self.num_tokens / self.tokens_per_step))


def plan_tokens(corpus_tokens: int, tokens: int | None, params: int | None) -> Plan:
    """A plan for a corpus of `corpus_tokens`; `tokens` and `params` (of the blocks) are kept if given."""
    if params is None:
        budget = 6 * tokens**2 / TOKENS_PER_PARAMETER if tokens else DEFAULT_TRAINING_FLOPS
        params = int(math.sqrt(budget / 6 / TOKENS_PER_PARAMETER))
    if tokens is None:
        affordable = max(DEFAULT_TRAINING_FLOPS / (6 * params), TOKENS_PER_PARAMETER * params)
        tokens = min(int(affordable), useful_tokens(corpus_tokens))
    return _plan(smith_shape(*largest_shape(params)), tokens, corpus_tokens)


def plan_seconds(
    seconds: float,
    corpus: Corpus,
    seconds_per_token: Callable[[GPTConfig, int], float],
    base: dict[str, Any],
    *,
    params: int | None = None,
    fixed_shape: bool = False,
    other_tokens: float = 0.0,
) -> Plan:
    """The plan whose expected bits per byte are lowest among those that take `seconds`.

    Args:
        seconds_per_token: the training time per token of a model's shape, in steps of so many tokens.
        base: the settings of the model that a shape is laid over.
        params: about how many parameters the blocks must have, if somebody has decided.
        fixed_shape: whether `base` has its shape already.
        other_tokens: the cost of the evaluations, in tokens of training.

    Raises:
        TooShortError: the time is too short for the smallest model.
    """
    if fixed_shape:
        per_token = partial(seconds_per_token, GPTConfig.parse(base))
        return _plan({}, _affordable(seconds, other_tokens, per_token, corpus), corpus.num_tokens)
    best: tuple[float, Plan] | None = None
    fitting = [shape for shape in SHAPES if block_parameters(shape) <= PARAMETERS_PER_TOKEN * corpus.num_tokens]
    for shape in [largest_shape(params)] if params else fitting or SHAPES[:1]:
        per_token = partial(seconds_per_token, GPTConfig.parse({**base, **smith_shape(*shape)}))
        try:
            num_tokens = _affordable(seconds, other_tokens, per_token, corpus)
        except TooShortError:
            if best is None:
                raise
            break
        loss = expectation(num_tokens, block_parameters(shape), corpus)
        if best is None or loss < best[0]:
            best = loss, _plan(smith_shape(*shape), num_tokens, corpus.num_tokens)
    assert best is not None, "the first shape fits, or raises"
    return best[1]


def _affordable(seconds: float, other_tokens: float, seconds_per_token: Callable[[int], float], corpus: Corpus) -> int:
    """The tokens that so many seconds suffice for, in steps of the size that goes with them."""
    size = TOKENS_PER_STEP
    while True:
        per_token = seconds_per_token(size)
        num_tokens, least = seconds / per_token - other_tokens, LEAST_STEPS * TOKENS_PER_STEP
        if num_tokens < least:
            raise TooShortError((least - num_tokens) * per_token)
        useful = min(int(num_tokens), useful_tokens(corpus.num_tokens))
        if _step_size(useful) <= size:
            return useful
        size = _step_size(useful)  # for which the same seconds suffice for more


def _step_size(num_tokens: int) -> int:
    """The tokens of a step of a run of so many."""
    size = 2 ** round(math.log2(max(num_tokens / STEPS_WANTED, 1)))
    return min(max(size, TOKENS_PER_STEP), LARGEST_STEP)


def useful_tokens(corpus_tokens: int) -> int:
    """The most tokens that are worth training on, of a text of so many."""
    enough = min(ENOUGH_STEPS * TOKENS_PER_STEP, MAX_EPOCHS * corpus_tokens)
    return max(int(USEFUL_EPOCHS * corpus_tokens), enough)


class TooShortError(UserError):
    """A time that trains nothing; `missing_seconds` more would do."""

    def __init__(self, missing_seconds: float) -> None:
        super().__init__(f"this takes {missing_seconds:.0f} seconds more than that")
        self.missing_seconds = missing_seconds


def expectation(num_tokens: int, num_block_parameters: float, corpus: Corpus) -> float:
    """The expected validation bits per byte."""
    seen = num_tokens * corpus.bytes_per_token
    return expected_bits_per_byte(corpus.difficulty, num_block_parameters, seen, corpus.num_bytes)


def interval(bits_per_byte: float, num_tokens: float) -> tuple[float, float]:
    """The interval in which most runs of so many tokens with this expectation end. Above it is wider for runs that
    are shorter than those which the scaling law was fitted to."""
    halvings = math.log2(max(FITTED_TOKENS / max(num_tokens, 1), 1))
    return bits_per_byte * (1 - INTERVAL), bits_per_byte * (1 + INTERVAL + SHORT_RUN_INTERVAL * halvings)


def block_parameters(shape: tuple[int, int]) -> float:
    """About how many parameters the blocks of a shape have: Qwen3's, with half as many key heads as query heads."""
    width, num_layers = shape
    return 11 * width**2 * num_layers


def largest_shape(params: float) -> tuple[int, int]:
    """The widest shape whose blocks have at most about `params` parameters."""
    fitting = [shape for shape in SHAPES if block_parameters(shape) <= params * 1.1]
    return fitting[-1] if fitting else SHAPES[0]


def _plan(model: dict[str, Any], num_tokens: int, corpus_tokens: int) -> Plan:
    if num_tokens > EPOCHS_BEFORE_DROPOUT * corpus_tokens:
        model = {**model, "dropout": DROPOUT}
    return Plan(model, num_tokens, _step_size(num_tokens))
