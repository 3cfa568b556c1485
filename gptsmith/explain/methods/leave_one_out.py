"""The parts of a prompt that mattered: the model answers again without each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from gptsmith.explain.claim import HOLDS, NOT_TESTED, Claim
from gptsmith.explain.methods import MethodSettings
from gptsmith.explain.naming import important, unit_items
from gptsmith.explain.question import Question, quoted
from gptsmith.explain.sparse_fit import random_halves, sparse_fit
from gptsmith.explain.testing import Outcome, try_units
from gptsmith.explain.units import Grain, Unit
from gptsmith.explain.wording import joined


class LeaveOneOutSettings(MethodSettings):
    """The difference with the whole prompt, less that without each part: sentences first, then the words of those that
    mattered most. Above `most_units` parts, a sparse linear fit of random halves in its place (ContextCite)."""

    kind: Literal["leave_one_out"] = "leave_one_out"
    by: Grain | None = None
    """The parts: sentences, words or tokens; by default sentences, then words."""
    most_units: int = Field(default=64, gt=0)
    """The most parts that are taken away one by one."""

    def explain(self, question: Question) -> list[Claim]:
        if self.by is not None:
            return [self._claim(question, question.units(self.by), self.by)]
        sentences, words = question.units("sentences"), question.units("words")
        if len(sentences) < 2:
            return [self._claim(question, words, "words")]
        changes, fit = self._changes(question, sentences)
        of_words = self._claim(question, self._words_of_the_best(sentences, changes, words), "words")
        # In this order, the chance that either holds by luck is that of one of them.
        untested = Outcome(NOT_TESTED, "Not tested: the words in them are.")
        outcome = None if of_words.verdict == HOLDS else untested
        return [self._claim_of(question, sentences, "sentences", changes, fit, outcome), of_words]

    def _words_of_the_best(self, sentences: Sequence[Unit], changes: np.ndarray, words: Sequence[Unit]) -> list[Unit]:
        """The words of the sentences that mattered most, as many as are taken away one by one; at least one's."""
        places: set[int] = set()
        for number in np.argsort(-changes):
            more = places | set(sentences[number].places)
            if places and sum(word.first in more for word in words) > self.most_units:
                break
            places = more
        return [word for word in words if word.first in places]

    def _claim(self, question: Question, units: Sequence[Unit], by: Grain) -> Claim:
        changes, fit = self._changes(question, units)
        return self._claim_of(question, units, by, changes, fit)

    def _changes(self, question: Question, units: Sequence[Unit]) -> tuple[np.ndarray, float | None]:
        """How far the difference falls without each part, and how well that was fitted, if it was."""
        if len(units) <= self.most_units:
            return question.difference - question.differences(question.without([unit]) for unit in units).numpy(), None
        kept = random_halves(len(units), question.seed)
        dropped = [[unit for unit, is_kept in zip(units, row, strict=True) if not is_kept] for row in kept]
        found = sparse_fit(kept, question.differences(map(question.without, dropped)).double().numpy())
        return found.weights, found.correlation

    def _claim_of(
        self,
        question: Question,
        units: Sequence[Unit],
        by: Grain,
        changes: np.ndarray,
        fit: float | None,
        outcome: Outcome | None = None,
    ) -> Claim:
        """The claim that the parts with the largest changes are those that mattered, tested if there is no outcome."""
        named = important(changes, question.num_claims)
        outcome = outcome or try_units(question, units, named, noun=by)
        chosen = [units[number] for number in named]
        rest, alone = question.differences([question.without(chosen), question.with_only(chosen)]).tolist()
        items = unit_items(units, changes, named)
        return Claim(
            self.kind, _says(question, chosen, outcome, rest, by), items, outcome.verdict, outcome.why, outcome.hardest,
            outcome.tests, rest=rest, alone=alone, fit=fit, by=by,
        )  # fmt: skip


def _says(question: Question, chosen: Sequence[Unit], outcome: Outcome, rest: float, by: str) -> str:
    """The claim for people: of cause only if it holds."""
    if not question.prompt.passages:
        return "There is no word of yours to take away: the prompt is empty."
    if not chosen:
        return f"None of your {by} spoke for it: {question.state(question.difference)} with all of them."
    texts = [quoted(unit.text) for unit in chosen]
    listed = joined(texts)
    figures = f"as it stands, {question.state(question.difference)}; without, {question.state(rest)}"
    if outcome.verdict == HOLDS:
        return f"Because of {listed} {question.subject}: {figures}."
    return f"{listed} {'are' if len(texts) > 1 else 'is'} associated with the answer ({question.subject}): {figures}."
