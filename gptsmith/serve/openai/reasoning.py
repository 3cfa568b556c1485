"""The manner of an answer: how long it is to be, and how much thought goes before it."""

from __future__ import annotations

from typing import Any

from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text.chat_template import ChatTemplate

VERBOSITY_INSTRUCTIONS = {"low": "Answer briefly.", "high": "Answer at length and in detail."}
EFFORT_INSTRUCTIONS = {
    "minimal": "Think for a moment before you answer.",
    "low": "Think briefly before you answer.",
    "medium": "Think step by step before you answer.",
    "high": "Think carefully, step by step, before you answer.",
    "xhigh": "Think very carefully, step by step, and check your steps before you answer.",
    "max": "Think as carefully as you can, step by step, and check every step before you answer.",
}
"""A model answers at once where it is not told to think, so that `none` needs no words."""


def reasoning_instructions(body: ChatCompletionRequest, template: ChatTemplate) -> list[str]:
    """What the model is told of it in words: of effort, what its template does not tell."""
    told = []
    if body.reasoning_effort in EFFORT_INSTRUCTIONS and "reasoning_effort" not in template.variables:
        told.append(EFFORT_INSTRUCTIONS[body.reasoning_effort])
    if body.verbosity in VERBOSITY_INSTRUCTIONS:
        told.append(VERBOSITY_INSTRUCTIONS[body.verbosity])
    return told


def template_variables(body: ChatCompletionRequest) -> dict[str, Any]:
    """What the template is told of it; nothing where it is left to the template."""
    if body.reasoning_effort is None:
        return {}
    return {"reasoning_effort": body.reasoning_effort, "enable_thinking": body.reasoning_effort != "none"}
