"""Reasoning effort and verbosity: sentences in the system message, and variables of the chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.serve.chat.schemas.common import Effort, Verbosity
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
"""A model without an instruction to think answers at once, so that `none` needs no sentence."""


def reasoning_instructions(effort: Effort | None, verbosity: Verbosity | None, template: ChatTemplate) -> list[str]:
    """Sentences for the system message; for effort only if the template has no variable for it."""
    instructions = []
    if effort in EFFORT_INSTRUCTIONS and "reasoning_effort" not in template.variables:
        instructions.append(EFFORT_INSTRUCTIONS[effort])
    if verbosity in VERBOSITY_INSTRUCTIONS:
        instructions.append(VERBOSITY_INSTRUCTIONS[verbosity])
    return instructions


def template_variables(
    effort: Effort | None, wants_thoughts: bool | None, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Variables for the template, of which those count most that are given by name; empty if nothing is requested."""
    variables: dict[str, Any] = {}
    if effort is not None:
        variables = {"reasoning_effort": effort, "enable_thinking": effort != "none"}
    if wants_thoughts is not None:
        variables["enable_thinking"] = wants_thoughts
    return {**variables, **(given or {})}
