"""Checks of question-answer pairs that a model made of a passage: whether they can be true, by the passage alone."""

from __future__ import annotations

import re

from gptsmith.retrieval.terms import question_terms
from gptsmith.text.sentences import SPACELESS

MAX_ANSWER_TERMS = 15
"""The words of an answer, of those that say something."""
COPIED_WORDS = 8
"""A question that has so many words in a row of the passage is a copy."""
NEAR = 0.8
"""Questions are nearly the same that have this part of their words in common (Jaccard)."""
LEAST_SHARED = 2
"""The words of a question, of those that say what it is about, that the passage must have."""


class PairChecks:
    """Says of pair after pair why it is dropped, if it is; those that are kept are compared with the next ones."""

    def __init__(self) -> None:
        self._kept: list[frozenset[str]] = []

    def problem(self, question: str, answer: str, passage: str) -> str:
        """Why a pair is dropped; empty if it is kept."""
        asked, answered, read = _plain(question), _plain(answer), _plain(passage)
        if not asked or not question_terms(answer):
            return "nothing is asked or answered"
        if len(question_terms(answer)) > MAX_ANSWER_TERMS:
            return "the answer is long"
        if not _holds(read, answered):
            return "the answer is not in the passage"
        if _holds(asked, answered):
            return "the question has the answer in it"
        words = asked.split()
        runs = [" ".join(words[at : at + COPIED_WORDS]) for at in range(len(words) - COPIED_WORDS + 1)]
        if asked in read or any(run in read for run in runs):
            return "the question is a copy"
        terms, known = frozenset(question_terms(question)), set(question_terms(passage))
        if len(terms & known) < min(LEAST_SHARED, len(terms)) or not terms:
            return "the question is not about the passage"
        if any(len(terms & other) >= NEAR * len(terms | other) for other in self._kept):
            return "it is nearly the same as another"
        self._kept.append(terms)
        return ""


def _plain(text: str) -> str:
    """The words of a text in lower case, with a space between them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _holds(text: str, words: str) -> bool:
    """Whether a text has these words in a row, whole ones where there are spaces between words."""
    before = "" if re.match(f"[{SPACELESS}]", words) else r"\b"
    after = "" if re.search(f"[{SPACELESS}]$", words) else r"\b"
    return re.search(f"{before}{re.escape(words)}{after}", text) is not None
