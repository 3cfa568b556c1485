"""What a model trained from scratch can do and cannot, by its size and by the text that it has read."""

from __future__ import annotations

from typing import NamedTuple


class Outlook(NamedTuple):
    """What to expect of models up to a size, or up to an amount of text, whichever ends first."""

    max_parameters: float
    max_tokens: float
    sentence: str


OUTLOOKS = (
    Outlook(
        0.5e6, 2e6,
        "writes words and short phrases in the manner of your text; few of its sentences make sense, and it knows no "
        "facts",
    ),
    Outlook(
        20e6, 200e6,
        "writes sentences in the manner of your text, and loses the thread after a few; it does not know what is true, "
        "and answers only questions like those that it is tuned on",
    ),
    Outlook(
        150e6, 5e9,
        "writes paragraphs in the manner of your text, and repeats what the text says often, with errors; it cannot "
        "reason, and knows nothing beyond the text",
    ),
    Outlook(
        float("inf"), float("inf"),
        "writes fluent text, as GPT-2 did, and knows much of what its text says; facts need checking, and it needs "
        "tuning to answer",
    ),
)  # fmt: skip
LEAD = (
    "For answers about your documents or about the world, tune a model that exists, such as "
    "HuggingFaceTB/SmolLM2-135M-Instruct (docs/which_way.md)."
)


def outlook(num_parameters: int, num_tokens: int) -> str:
    """A sentence on what a model can do and what not.

    Args:
        num_parameters: the size of the model.
        num_tokens: the tokens that it has read in training.
    """
    return OUTLOOKS[outlook_level(num_parameters, num_tokens)].sentence


def outlook_level(num_parameters: int, num_tokens: int) -> int:
    """The place of a model's outlook in `OUTLOOKS`."""
    return next(
        level
        for level, one in enumerate(OUTLOOKS)
        if num_parameters < one.max_parameters or num_tokens < one.max_tokens
    )
