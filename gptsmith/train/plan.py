"""How large a model, how many tokens, how large a batch: plain rules, everything can be overruled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gptsmith.model.presets import smith_shape

DEFAULT_TRAINING_FLOPS = 2e13
"""What a run costs where nobody says: some five minutes on two CPU cores."""
TOKENS_PER_PARAMETER = 4
MAX_EPOCHS = 20
TOKENS_PER_STEP = 1024
"""Of a small run. Larger ones take larger steps: tokens / 3000, in powers of two."""
EPOCHS_BEFORE_DROPOUT = 5
WIDTHS = (128, 192, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096)


@dataclass(frozen=True)
class Plan:
    """What a run will do where nobody overrules it."""

    model: dict[str, Any]
    """Settings of the model's shape."""
    num_tokens: int
    """Tokens to train on."""
    tokens_per_step: int


def plan(corpus_tokens: int, tokens: int | None, params: int | None) -> Plan:
    """A plan for a corpus of `corpus_tokens`; `tokens` and `params` (of the blocks) are kept to where given."""
    if params is None:
        budget = 6 * tokens**2 / TOKENS_PER_PARAMETER if tokens else DEFAULT_TRAINING_FLOPS
        params = int(math.sqrt(budget / 6 / TOKENS_PER_PARAMETER))
    if tokens is None:
        affordable = max(DEFAULT_TRAINING_FLOPS / (6 * params), TOKENS_PER_PARAMETER * params)
        tokens = int(min(affordable, MAX_EPOCHS * corpus_tokens))
    model = smith_shape(*_width_and_depth(params))
    if tokens > EPOCHS_BEFORE_DROPOUT * corpus_tokens:
        model["dropout"] = 0.1
    tokens_per_step = 2 ** round(math.log2(max(tokens / 3000, 1)))
    return Plan(model, tokens, min(max(tokens_per_step, TOKENS_PER_STEP), 2**19))


def _width_and_depth(params: int) -> tuple[int, int]:
    """The widest shape whose blocks have at most about `params` parameters; wider ones are deeper."""
    shapes = [(width, max(4, round(2 + width / 64))) for width in WIDTHS]
    fitting = [shape for shape in shapes if 11 * shape[0] ** 2 * shape[1] <= params * 1.1]
    return fitting[-1] if fitting else shapes[0]
