"""The roles of heads: previous token, induction (Olsson et al. 2022), duplicate token, first token.

A role is named only where a head looks there far more than chance would, and the loss on a repeated text rises more
without it than without other heads. Models of minutes may have none, and are then said to have none.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED, Claim, Item, Verdict
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.question import Question
from gptsmith.explain.roles import LEAST_SCORE, TIMES_CHANCE, RepeatedText, loss_without, role_scores
from gptsmith.explain.testing import compared
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer

MOST_CANDIDATES, NUM_OTHERS = 3, 20
LEAST_RISE, DEVIATIONS = 0.01, 3.0
"""A head has a role if the loss rises by so many nats per token without it, more than without any of the other heads,
and by so many standard deviations more than without them on average: of a dozen heads that are tried, one is soon the
largest."""


class HeadRolesSettings(MethodSettings):
    """Which heads look at the token before, at what followed the same token, at that token, or at the first one."""

    kind: Literal["head_roles"] = "head_roles"

    def explain(self, question: Question) -> list[Claim]:
        return head_roles(question.model, question.tokenizer, seed=question.seed)


def head_roles(model: GPT, tokenizer: Tokenizer, *, seed: int = 0) -> list[Claim]:
    """A claim for each role that heads look like having, with the test of the best of them; or that there are none.

    Raises:
        UserError: the context or the vocabulary is too small to repeat a text.
    """
    avoided = [*tokenizer.end_ids, *tokenizer.prompt_ids("")]
    text = RepeatedText.drawn(model, tokenizer.prompt_ids(""), avoided, seed)
    scores, chance = role_scores(model, text), text.chance
    looking = {role: _looking(of_heads, chance) for role, of_heads in scores.items()}
    claims = _tested(model, text, {role: heads for role, heads in looking.items() if heads}, scores, seed)
    if any(claim.verdict == HOLDS for claim in claims):
        return claims
    best = {role: float(of_heads.max()) for role, of_heads in scores.items()}
    listed = ", ".join(f"{role} {100 * score:.0f} %" for role, score in best.items())
    says = (
        "No head with a role was found: none looks at a previous, a repeated or the first token far more than chance "
        f"({100 * chance:.0f} %) and is missed more than other heads on a text that repeats itself. The most: {listed}."
    )
    return [*claims, Claim("head_roles", says, [], why="Nothing of the sort was found.")]


def _looking(scores: Tensor, chance: float) -> list[tuple[int, int]]:
    """The heads (layer, head) that look far more than chance where a role does, the most first."""
    order = scores.flatten().argsort(descending=True).tolist()
    heads = [divmod(number, scores.shape[1]) for number in order]
    return [head for head in heads if scores[head] >= max(LEAST_SCORE, TIMES_CHANCE * chance)]


def _tested(
    model: GPT, text: RepeatedText, looking: dict[str, list[tuple[int, int]]], scores: dict[str, Tensor], seed: int
) -> list[Claim]:
    """A claim for each role: which of the heads that look there most are missed far more than heads that look nowhere
    of the sort."""
    if not looking:
        return []
    every = [(layer, head) for layer in range(model.config.num_layers) for head in range(model.config.num_heads)]
    others = [head for head in every if not any(head in heads for heads in looking.values())]
    chosen = [others[n] for n in np.random.default_rng(seed).permutation(len(others))[:NUM_OTHERS]]
    candidates = {role: heads[:MOST_CANDIDATES] for role, heads in looking.items()}
    measured = list(dict.fromkeys([*(head for heads in candidates.values() for head in heads), *chosen]))
    rises = dict(zip(measured, loss_without(model, text, [_tap(head) for head in measured]), strict=True))
    by_chance = [rises[head] for head in chosen]
    return [_claim(role, heads, scores[role], rises, by_chance) for role, heads in candidates.items()]


def _claim(
    role: str,
    heads: list[tuple[int, int]],
    scores: Tensor,
    rises: dict[tuple[int, int], float],
    by_chance: list[float],
) -> Claim:
    """What is known of the candidates of one role."""
    heads = sorted(heads, key=lambda head: -rises[head])
    most = max(by_chance, default=float("inf"))  # without other heads nothing can be told from chance
    far = float(np.mean(by_chance) + DEVIATIONS * np.std(by_chance)) if by_chance else most
    found = [head for head in heads if rises[head] > max(most, far, LEAST_RISE)]
    verdict: Verdict = HOLDS if found else CHANCE if by_chance else NOT_TESTED
    items = [
        Item(
            f"head {head} of block {layer} ({100 * float(scores[layer, head]):.0f} % of its attention)",
            rises[layer, head], part=_tap((layer, head)), is_named=(layer, head) in found,
        )
        for layer, head in heads
    ]  # fmt: skip
    test = compared("switched off", 1, [rises[heads[0]], *by_chance]) if by_chance else None
    names = ", ".join(f"head {head} of block {layer}" for layer, head in found or heads)
    figures = f"without the first of these, the loss on a repeated text rises by {rises[heads[0]]:.2f} nats per token"
    if found:
        says = f"{MEANINGS[role]}: {names}; {figures}."
        why = f"Tested: switched off, it was missed more than each of {len(by_chance)} other heads."
    else:
        says = f"No role, though they look there. {MEANINGS[role]}: {names}; but {figures}, as without other heads."
        why = f"Tested, and no better than chance: other heads were missed as much (up to {most:+.2f} nats)."
    if not by_chance:
        why = "Not tested: every head looks like this, so that there is none to compare with."
    return Claim("head_roles", says, items, verdict, why, test, [test] if test else [])


MEANINGS = {
    "previous": "Looks at the token before",
    "induction": "Looks at what followed the same token the last time (induction)",
    "duplicate": "Looks at the same token the last time",
    "first": "Looks at the first token",
}


def _tap(head: tuple[int, int]) -> str:
    return f"blocks.{head[0]}.attention.heads.{head[1]}"
