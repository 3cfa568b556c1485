"""Examples as a model will see them, before anything is trained."""

from __future__ import annotations

from typing import Any

from gptsmith.text.chat_template import Encoded
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.finetuning import prepare_job

NUM_EXAMPLES = 3


def preview(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The first examples, each with its place, its label if it has one, and its sequences as lists of tokens:
    `{"text": ..., "trained": ...}`.

    Raises:
        UserError: the base, an example or a setting cannot be used, or the data is plain text.
    """
    job = prepare_job(table, final_evaluations=False)
    return [
        {
            "place": example.place,
            **({"label": example.label} if example.label is not None else {}),
            "sequences": [tokens(job.base.tokenizer, sequence) for sequence in example.sequences],
        }
        for example in job.dataset.preview(NUM_EXAMPLES)
    ]


def tokens(tokenizer: Tokenizer, sequence: Encoded) -> list[dict[str, Any]]:
    """Each token's text, and whether the model is trained to write it."""
    return [
        {"text": tokenizer.decode([number], keep_special=True, begins=False), "trained": bool(is_trained)}
        for number, is_trained in zip(sequence.ids, sequence.trained, strict=True)
    ]
