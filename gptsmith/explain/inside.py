"""Explanations that are about no word of a reply: of a model itself, and of the difference between two prompts."""

from __future__ import annotations

import time
from dataclasses import replace

from gptsmith.explain.check import check_model
from gptsmith.explain.claim import Claim
from gptsmith.explain.explaining import Messages, NotebookExplanation
from gptsmith.explain.methods.activation_patching import ActivationPatchingSettings
from gptsmith.explain.methods.head_roles import head_roles
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

FIRST_CHOICES = 10
"""Where both prompts are answered alike, the contrast is one of so many first choices after the other."""


def explained_model(
    model: GPT, tokenizer: Tokenizer, *, run: str, step: int, checks: bool = False, heads: bool = False, seed: int = 0
) -> NotebookExplanation:
    """The identities that explanations of this model rest on, if `checks`, and the roles of its heads, if `heads`.

    Raises:
        UserError: the model's context or vocabulary is too small for its heads to show a role.
    """
    started = time.perf_counter()
    tried = [check.plain() for check in check_model(model, tokenizer, seed=seed)] if checks else []
    claims: list[Claim] = head_roles(model, tokenizer, seed=seed) if heads else []
    return NotebookExplanation(
        run, step, "", "", 0, 0, None, None, 0.0, claims, checks=tried, seconds=time.perf_counter() - started
    )


def explained_pair(
    question: Question, other: Prompt, *, run: str, step: int, prompt: str | Messages
) -> NotebookExplanation:
    """What in a model makes the difference between its answers to two prompts of as many tokens.

    Args:
        question: about the first prompt; its target and contrast are chosen here.
        other: the second prompt.
        prompt: the first prompt as it was given.

    Raises:
        UserError: the prompts have not as many tokens, or are answered alike.
    """
    started = time.perf_counter()
    asked = _between(question, other)
    claims = ActivationPatchingSettings(other_ids=other.ids).explain(asked)
    reply = asked.text_of(asked.target)
    return NotebookExplanation(
        run, step, prompt, reply, 0, len(reply), asked.target_choice, asked.against_choice, asked.difference, claims,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _between(question: Question, other: Prompt) -> Question:
    """The question why the model answers one prompt with its first choice and not with that after the other; where both
    have the same, with the one of those after the other that gains most there."""
    own, others = question.logits, replace(question, prompt=other).logits
    target, against = int(own.argmax()), int(others.argmax())
    if target == against:
        first = [token for token in others.topk(min(FIRST_CHOICES, len(others))).indices.tolist() if token != target]
        against = max(first, key=lambda token: float(others[token] - own[token]))
    return replace(question, target=target, against=against)
