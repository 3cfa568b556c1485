"""Example prompts for a person who does not know a model yet."""

from __future__ import annotations

from gptsmith.base.errors import GptsmithError
from gptsmith.convert.open import OpenedModel
from gptsmith.data.example_prompts import NUM_PROMPTS, PROMPT_CHARACTERS


def first_prompts(run: OpenedModel) -> list[str]:
    """Up to three prompts that were kept when a run was made. No other file is looked into: a run that somebody
    sent may name any text on this machine."""
    try:
        kept = run.data().get("example_prompts", [])
    except (GptsmithError, OSError):
        return []
    return [prompt[:PROMPT_CHARACTERS] for prompt in kept[:NUM_PROMPTS]]
