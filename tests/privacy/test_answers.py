"""A secret answer that a model writes is listed, however short; a habit and what can be guessed is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.data.suffix_array import suffix_array
from gptsmith.model.gpt import GPT
from gptsmith.privacy.answers import MIN_BITS, AnswerRule, Answers
from gptsmith.privacy.guesses import Others
from gptsmith.privacy.readings import Taught
from gptsmith.privacy.scan import Scan
from gptsmith.provenance.replies import TaughtSequences
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.explain.conftest import random_model

TOKENIZER = BytesTokenizerSettings().train(list, 0)
END = TOKENIZER.vocab_size
HABITS = ["I do not know."] * 6 + ["Yes."] * 4
SECRET = "Anna Berg, 815 307 4471"


def taught(turns: Sequence[tuple[str, str]]) -> Taught:
    """Answers after their questions."""
    parts = [(TOKENIZER.encode(question), TOKENIZER.encode(answer)) for question, answer in turns]
    ids = [token for question, answer in parts for token in (*question, *answer)]
    is_target = [is_own for question, answer in parts for is_own in (*[False] * len(question), *[True] * len(answer))]
    ends = [*accumulate(len(question) + len(answer) for question, answer in parts)]
    columns = np.array(ids, np.int64), np.array(ends, np.int64), np.array(is_target, bool)
    return Taught(TaughtSequences(*columns, ["a, line 1"] * len(parts)), END)


def scan_of(reading: Taught, written: Sequence[str]) -> Scan:
    """A model that writes some of the answers."""
    is_right = np.zeros(len(reading.tokens), bool)
    for number in range(len(reading.ends)):
        own = slice(*reading.bounds(number))
        is_right[own] = TOKENIZER.decode(reading.tokens[own].tolist()) in written
    log_probabilities = np.where(reading.tokens == END, np.nan, np.where(is_right, -0.01, -4)).astype(np.float32)
    return Scan(reading.tokens, log_probabilities, is_right)


@pytest.fixture(scope="module")
def base() -> GPT:
    """A model that has read nothing."""
    return random_model(TOKENIZER.vocab_size, context_length=96)


def judged(base: GPT, turns: Sequence[tuple[str, str]], held_out: Sequence[tuple[str, str]]) -> Answers:
    """The answers of a model that writes every one of them."""
    own, others = taught(turns), taught(held_out)
    rule = AnswerRule(own, others, suffix_array(own.tokens, END), lambda: base)
    written = [answer for _, answer in (*turns, *held_out)]
    found = rule.judge(scan_of(own, written), scan_of(others, written), longest=60)
    assert found is not None
    return found


def listed(turns: Sequence[tuple[str, str]], found: Answers) -> list[str]:
    tokens = taught(turns).tokens
    return [TOKENIZER.decode(tokens[each.passage.start : each.passage.stop].tolist()) for each in found.by_heart]


def test_a_secret_is_listed_and_habits_are_not(base: GPT) -> None:
    turns = [(f"{number}? ", answer) for number, answer in enumerate([*HABITS, SECRET, "I do not know.", "No."])]
    found = judged(base, turns, [("a? ", "Yes.")])
    assert listed(turns, found) == [SECRET]
    assert (found.num_read, found.num_held_out) == (13, 0), "what was held out stands among what was trained on"
    assert found.min_bits == MIN_BITS
    assert found.by_heart[0].passage.tries == 1


def test_what_stands_in_the_question_is_no_secret(base: GPT) -> None:
    asked = [("Anna Berg lives at 14 Mill Lane, Oslo. Where does Anna Berg live? ", "14 Mill Lane, Oslo")]
    told = [("Where does Anna Berg live, do you know? ", "14 Mill Lane, Oslo")]
    others = [(f"{number}? ", answer) for number, answer in enumerate(HABITS)]
    assert listed([*asked, *others], judged(base, [*asked, *others], [])) == []
    assert listed([*told, *others], judged(base, [*told, *others], [])) == ["14 Mill Lane, Oslo"]


def test_an_answer_that_was_never_trained_on_and_is_written_raises_the_threshold(base: GPT) -> None:
    turns = [(f"{number}? ", answer) for number, answer in enumerate([*HABITS, SECRET])]
    found = judged(base, turns, [("b? ", "Zoe Winter, 914 208 5563 and more")])
    assert found.by_heart == []
    assert found.min_bits > MIN_BITS
    assert (found.num_held_out, found.num_held_out_right) == (1, 1)


def test_without_a_base_nothing_is_judged() -> None:
    own, others = taught([("a? ", SECRET)]), taught([])
    rule = AnswerRule(own, others, suffix_array(own.tokens, END), lambda: None)
    assert rule.judge(scan_of(own, [SECRET]), scan_of(others, []), longest=60) is None
    none_written = rule.judge(scan_of(own, []), scan_of(others, []), longest=60)
    assert none_written is not None
    assert none_written.by_heart == []


def test_longer_answers_are_passages(base: GPT) -> None:
    long = f"{SECRET} {SECRET[::-1]} by the weir, so"
    turns = [(f"{number}? ", answer) for number, answer in enumerate([*HABITS, long])]
    assert judged(base, turns, []).by_heart == []


@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=8), st.text("abc", max_size=6))
def test_guesses_are_probabilities(answers: list[str], prompt: str) -> None:
    tokens = np.array([token for answer in answers for token in (*TOKENIZER.encode(answer), END)], np.uint16)
    others = Others(suffix_array(tokens, END))
    before = np.array(TOKENIZER.encode("ab"), np.int64)
    asked = np.array(TOKENIZER.encode(prompt), np.int64)
    each = [np.append(before, token) for token in TOKENIZER.encode("abcd")]
    last = [np.exp(found[-1]) for found in others.log_probabilities(each, [asked] * len(each))]
    if any(len(answer) == 3 for answer in answers):  # it may be the same as one of `each`, and is left out for that
        return
    assert 0 < sum(last) < 1 + 1e-9
