"""How much a model forgets while it is fine-tuned, measured on the validation text of its base's pretraining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded
from gptsmith.evaluate.perplexity import score_language
from gptsmith.model.gpt import GPT
from gptsmith.train.validation_text import validation_text

FORGETTING_TOKENS = 65_536
"""How much of that text is read."""


def forgetting(base: Loaded, model: GPT) -> Callable[[GPT], dict[str, Any]] | None:
    """An evaluation of the tuned model: the bits per byte of the base's own validation text, by the model before
    training and by the tuned one. None if that text is no longer there."""
    try:
        stream, _ = validation_text(base.run)
    except UserError:
        return None
    bytes_of = base.tokenizer.num_bytes_per_token

    def bits_per_byte(evaluated: GPT) -> float:
        return score_language(evaluated, stream, bytes_of, max_tokens=FORGETTING_TOKENS).bits_per_byte

    before = bits_per_byte(model.eval())
    return lambda tuned: {"general_bits_per_byte_before": before, "general_bits_per_byte": bits_per_byte(tuned)}
