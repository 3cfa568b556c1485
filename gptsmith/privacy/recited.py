"""What a model recites of a text that it learnt from, and its figures as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from gptsmith.privacy.answers import Answers
from gptsmith.privacy.near import nearly, without
from gptsmith.privacy.read_text import ReadText
from gptsmith.privacy.recitable import Passage, Runs, Threshold, is_learnt, passages_of, single_passages, threshold_of
from gptsmith.privacy.scan import Scan
from gptsmith.privacy.tries import tokens_within
from gptsmith.provenance.learned_text import SourcedText

MAX_PASSAGES = 1_000
"""Passages of a text that are looked up in their files and listed, the longest first."""
MAX_OTHER_PASSAGES = 100
"""Those of a checkpoint that is not served, and near ones."""
TRIES = (1, 10, 100, 1_000, 1_000_000)
"""For which it is counted how much of a text can be had."""
NO_BASE = "short answers are not judged: the base that it was tuned from is not here, or there is no memory for it"
"""Said of a text whose short answers cannot be judged."""
COPIES = ((1, 1), (2, 3), (4, 15), (16, None))
"""From how many to how many, in the table by copies."""


@dataclass(frozen=True)
class Recited:
    """What a model recites of one of the texts that it learnt from.

    Attributes:
        text: the text, as the model read it.
        note: why it was not read as it was learnt, or not all of it was judged, for a person; None if it was.
        scanned, held_out: it and the text that was held out, as the model reads them.
        threshold: the fewest tokens of a passage.
        passages: those that it recites, the longest first.
        canary_passages: those of them that touch a canary, and are nobody's text; they are not among the others.
        near_threshold, near_passages: the fewest tokens of a passage that it recites but for one token in twelve, and
            those that have no passage in them, without canaries.
        answers: the short answers that it has by heart, without those to canaries; None if there is no rule for them.
        held_out_passages: passages of the text that was held out, but for those that stand in the training text, too.
        num_passage_tokens: the tokens of the text that lie in a run of right ones so long.
        within: for each of TRIES, the tokens of the text that can be had within so many, and those of the text that was
            held out.
    """

    text: SourcedText
    note: str | None
    scanned: Scan
    held_out: Scan
    threshold: Threshold
    passages: list[Passage]
    canary_passages: list[Passage]
    near_threshold: Threshold
    near_passages: list[Passage]
    answers: Answers | None
    held_out_passages: list[Passage]
    num_passage_tokens: int
    within: Mapping[int, tuple[int, int]]

    @classmethod
    def of(cls, read: ReadText, scanned: Scan, held_out: Scan) -> Recited:
        """It, from the scans of a text and of the one that was held out."""
        text, array = read.text, read.text.array
        is_repeated, is_repeated_held_out = read.own.is_repeated, read.held_out.is_repeated
        own, others = Runs.of(scanned, is_repeated), Runs.of(held_out, is_repeated_held_out)
        num_bytes = text.tokenizer.num_bytes_per_token[array.tokens[array.tokens != array.separator]].sum()
        bytes_per_token = num_bytes / max(1, len(array))
        threshold = threshold_of(held_out, others, array, scanned.num_read, bytes_per_token)
        near_held_out = Runs.of(nearly(held_out, array.separator), is_repeated_held_out)
        near_threshold = threshold_of(held_out, near_held_out, array, scanned.num_read, bytes_per_token)
        near = Runs.of(nearly(scanned, array.separator), is_repeated).at_least(near_threshold.num_tokens)
        length = threshold.num_tokens
        own, others = own.at_least(length), others.at_least(length)
        passages, canary_passages = _by_owner(text, passages_of(scanned, own, array))
        near_passages, _ = _by_owner(text, passages_of(scanned, without(near, own), array))
        answers = None if read.answers is None else read.answers.judge(scanned, held_out, length)
        note = NO_BASE if read.answers is not None and answers is None else read.note
        return cls(
            text, note, scanned, held_out, threshold, passages, canary_passages, near_threshold, near_passages,
            None if answers is None else answers.without(text.is_planted),
            single_passages(held_out, others.where(~is_learnt(held_out.tokens, others, array))),
            num_own_tokens(text, own),
            {
                tries: (
                    tokens_within(scanned, is_repeated, length, tries),
                    tokens_within(held_out, is_repeated_held_out, length, tries),
                )
                for tries in TRIES
            },
        )  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """Its figures, without a passage."""
        return {
            **self.text.figures(),
            "note": self.note,
            "num_tokens_read": self.scanned.num_read,
            "num_held_out_tokens": int(np.count_nonzero(self.held_out.tokens != self.text.array.separator)),
            "num_held_out_tokens_read": self.held_out.num_read,
            "threshold": self.threshold.num_tokens,
            "longest_held_out": self.threshold.longest_held_out,
            "expected_by_chance": self.threshold.expected_by_chance,
            "num_passages": len(self.passages),
            "num_canary_passages": len(self.canary_passages),
            "num_passage_tokens": self.num_passage_tokens,
            "near_threshold": self.near_threshold.num_tokens,
            "num_near_passages": len(self.near_passages),
            **({} if self.answers is None else self.answers.figures()),
            "num_held_out_passages": len(self.held_out_passages),
            "within_tries": [
                {"tries": tries, "num_tokens": own, "num_held_out_tokens": other}
                for tries, (own, other) in self.within.items()
            ],
        }

    def passages_in_words(self, most: int = MAX_PASSAGES) -> list[dict[str, Any]]:
        """The longest passages, with their files and places."""
        return [self._in_words(passage) for passage in self.passages[:most]]

    def near_in_words(self, most: int = MAX_OTHER_PASSAGES) -> list[dict[str, Any]]:
        """The longest near passages, with their files and places."""
        return [self._in_words(passage) for passage in self.near_passages[:most]]

    def answers_in_words(self, most: int = MAX_PASSAGES) -> list[dict[str, Any]]:
        """The short answers that are the hardest to guess, with their files and places."""
        by_heart = [] if self.answers is None else self.answers.by_heart[:most]
        return [{**self._in_words(each.passage), "bits": each.bits} for each in by_heart]

    def _in_words(self, passage: Passage) -> dict[str, Any]:
        source = self.text.source(passage.start, passage.num_tokens)
        return {
            "text": source.passage,
            "num_tokens": passage.num_tokens,
            "num_copies": passage.num_copies,
            "tries": passage.tries,
            **source.plain(),
        }

    def held_out_in_words(self) -> list[dict[str, Any]]:
        """The passages of the text that was held out."""
        tokens, decode = self.held_out.tokens, self.text.tokenizer.decode
        return [
            {
                "text": decode(tokens[passage.start : passage.stop].tolist()),
                "num_tokens": passage.num_tokens,
                "tries": passage.tries,
            }
            for passage in self.held_out_passages
        ]


def _by_owner(text: SourcedText, passages: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Passages of people's text, and those that touch a canary."""
    own, planted = list[Passage](), list[Passage]()
    for each in passages:
        (planted if text.is_planted(each.start, each.num_tokens) else own).append(each)
    return own, planted


def num_own_tokens(text: SourcedText, runs: Runs) -> int:
    """The tokens of some runs of right ones, but for those that touch a canary, which are nobody's text."""
    spans = ((int(start), int(stop - start)) for start, stop in zip(runs.starts, runs.stops, strict=True))
    return sum(num_tokens for start, num_tokens in spans if not text.is_planted(start, num_tokens))


def num_answers(recited: Recited) -> int:
    """The short answers of a text that a model has by heart."""
    return 0 if recited.answers is None else len(recited.answers.by_heart)


def recited_figures(recited: Sequence[Recited]) -> dict[str, Any]:
    """What a model recites of all its texts."""
    return {
        "learned": [each.figures() for each in recited],
        "threshold": recited[0].threshold.num_tokens,
        "num_passages": sum(len(each.passages) for each in recited),
        "num_canary_passages": sum(len(each.canary_passages) for each in recited),
        "num_near_passages": sum(len(each.near_passages) for each in recited),
        "num_answers": sum(map(num_answers, recited)),
        "by_copies": _by_copies([passage for each in recited for passage in each.passages]),
        "passages": [plain for each in recited for plain in each.passages_in_words()],
        "near_passages": [plain for each in recited for plain in each.near_in_words()],
        "answers": [plain for each in recited for plain in each.answers_in_words()],
        "held_out": [plain for each in recited for plain in each.held_out_in_words()],
    }


def checkpoint_figures(step: int, recited: Sequence[Recited], served_step: int) -> dict[str, Any]:
    """What the checkpoint of a step recites of all its texts; its passages, too, if it is not the one that is
    served."""
    most = 0 if step == served_step else MAX_OTHER_PASSAGES
    return {
        "step": step,
        "is_served": step == served_step,
        "passages": [plain for each in recited for plain in each.passages_in_words(most)],
        "answers": [plain for each in recited for plain in each.answers_in_words(most)],
        "num_passages": sum(len(each.passages) for each in recited),
        "num_answers": sum(map(num_answers, recited)),
        "num_passage_tokens": sum(each.num_passage_tokens for each in recited),
        "num_held_out_passages": sum(len(each.held_out_passages) for each in recited),
        "longest_tokens": max((each.passages[0].num_tokens for each in recited if each.passages), default=0),
    }


def _by_copies(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """How many passages have so many copies, and the medians of their lengths and tries."""
    rows = []
    for least, most in COPIES:
        found = [each for each in passages if least <= each.num_copies <= (most or each.num_copies)]
        rows.append(
            {
                "least_copies": least,
                "most_copies": most,
                "num_passages": len(found),
                "median_tokens": median(each.num_tokens for each in found) if found else None,
                "median_tries": median(each.tries for each in found) if found else None,
            }
        )
    return rows
