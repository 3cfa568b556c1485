"""The passages that made a text more likely: found by their words, each tested by one step of forgetting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gptsmith.explain.claim import HOLDS, NOT_TESTED, Test, Verdict
from gptsmith.explain.influence.candidates import PASSAGE_TOKENS, Candidate, find_candidates, random_passages
from gptsmith.explain.influence.forgetting import ForgettingModel, Target
from gptsmith.explain.testing import RANDOM_CHOICES, can_tell, compared, verdict_on
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.model.gpt import GPT
from gptsmith.provenance.learned_text import LearnedText, Source

MAX_CANDIDATES = 3
SEED = 0
"""Of the random passages."""
Turn = Callable[[Callable[[], float]], float]
"""Runs one step, which takes as long as training on a passage does, when it is its turn."""


@dataclass(frozen=True)
class Influence:
    """A passage that a model learnt from, and whether it made a text more likely.

    Attributes:
        source: the passage, where it stands.
        score: how much it shares with the text (see `gptsmith.explain.influence.candidates`).
        drop: by how many nats the text's log-probability falls after one step of forgetting it; None if that was not
            tested.
        test: beside passages at random.
        verdict: `holds`, `no better than chance` or `not tested`.
        says: the verdict in a sentence for people.
    """

    source: Source
    score: float
    drop: float | None
    test: Test | None
    verdict: Verdict
    says: str

    def plain(self) -> dict[str, Any]:
        """It as JSON values, with those of its source."""
        own = {"score": self.score, "drop": self.drop, "verdict": self.verdict, "says": self.says}
        return {**self.source.plain(), **own, "test": None if self.test is None else asdict(self.test)}


def find_influences(
    tracer: Tracer,
    model: GPT,
    target: Target,
    *,
    turn: Turn = lambda step: step(),
    observe: Callable[[int], None] = lambda _: None,
) -> list[Influence]:
    """The passages that share most with a text, and their tests.

    They are tested in that order, as long as the test holds: so the chance that any holds by luck is that of one.

    Args:
        model: the model that wrote the text, whose weights take gradients; it is left as it is.
        observe: called with the number of steps that are done, of at most `RANDOM_CHOICES + MAX_CANDIDATES`.

    Raises:
        UserError: the text does not fit into the context, or the weights take no gradient.
    """
    forgetting = ForgettingModel(model, target)
    found = find_candidates(tracer.learned.texts, [*target.prompt_ids, *target.ids], MAX_CANDIDATES)
    return _tested(found, tracer.learned.texts, forgetting, turn, observe)


def influence_of(
    passage: Candidate, tracer: Tracer, model: GPT, target: Target, *, turn: Turn = lambda step: step()
) -> Influence:
    """Whether one passage made a text more likely. The arguments and errors are those of `find_influences`."""
    return _tested([passage], tracer.learned.texts, ForgettingModel(model, target), turn, lambda _: None)[0]


def passage_around(text: LearnedText, place: int, num_tokens: int) -> Candidate:
    """The passage to forget around a match: as many tokens as other passages have, with the match in their middle, or
    the match itself if it is longer."""
    begin, end = text.bounds(text.document_at(place))
    start = max(begin, min(place - (PASSAGE_TOKENS - num_tokens) // 2, end - PASSAGE_TOKENS, place))
    return Candidate(text, start, min(max(PASSAGE_TOKENS, place + num_tokens - start), end - start))


def _tested(
    candidates: Sequence[Candidate],
    texts: Sequence[LearnedText],
    forgetting: ForgettingModel,
    turn: Turn,
    observe: Callable[[int], None],
) -> list[Influence]:
    if not candidates:
        return []
    num_done = 0

    def drop_of(passage: Candidate) -> float:
        nonlocal num_done
        begin = (passage.text.tokenizer.eos_token_id,)
        found = turn(lambda: forgetting.drop(begin, passage.ids))
        num_done += 1
        observe(num_done)
        return found

    generator = np.random.default_rng(SEED)
    others = [drop_of(passage) for passage in random_passages(texts, candidates, RANDOM_CHOICES, generator)]
    tested: list[Influence] = []
    holds = True
    for passage in candidates:
        source = passage.text.source(passage.place, passage.num_tokens)
        if not holds:
            says = "Not tested, because one that shares more with the text did not hold."
            tested.append(Influence(source, passage.score, None, None, NOT_TESTED, says))
            continue
        drop = drop_of(passage)
        test = compared("forget", 1, [drop, *others]) if can_tell(len(others)) else None
        verdict = NOT_TESTED if test is None else verdict_on([test])
        holds = verdict == HOLDS
        tested.append(Influence(source, passage.score, drop, test, verdict, in_words(drop, test, verdict)))
    return tested


def in_words(drop: float, test: Test | None, verdict: Verdict) -> str:
    """What a passage had to do with a text; of cause only if the test holds."""
    if test is None:
        return "Not tested: the run learnt from too few other passages to compare it with."
    probable = f"one step of forgetting this passage makes the text {_times(drop)}"
    others = f"forgetting one of {test.num_random} other passages, on average {_times(test.random_mean)}"
    if verdict == HOLDS:
        return f"It makes a difference: {probable}; {others}."
    return f"No better than chance: {probable}; {others}."


def _times(drop: float) -> str:
    """A drop of a log-probability as words: `9.3 times less probable`."""
    ratio = math.exp(min(abs(drop), 700))
    if ratio < 1.05:
        return "as probable as before"
    shown = f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e6 else f"{ratio:.0e}"
    return f"{shown} times {'less' if drop > 0 else 'more'} probable"
