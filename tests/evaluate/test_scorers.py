"""When a reply is right."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.evaluate.scorers import KINDS, ScorerSettings
from gptsmith.evaluate.scorers.number import final_number


def scorer(kind: str, **settings: str) -> ScorerSettings:
    return KINDS.settings(kind).parse({"kind": kind, **settings})


RIGHT = [
    ("exact", {}, " Paris\n", "Paris"),
    ("contains", {}, "It is PARIS, of course.", "Paris"),
    ("number", {}, "That makes 3 and 4, so 7.", "7"),
    ("number", {}, "2 + 2\n#### 1,234 nails in 5 days", "#### 1234"),
    ("number", {}, "#### 3\nNo: #### 4 not 5", "4.0"),
    ("number", {}, "-.5", "-0.50"),
    ("pattern", {"pattern": r"answer is (\w+)"}, "The answer is no. Wait: the answer is yes.", "yes"),
    ("pattern", {"pattern": "[Yy]es"}, "Oh yes", "whatever"),
]
WRONG = [
    ("exact", {}, "paris", "Paris"),
    ("contains", {}, "Par is", "Paris"),
    ("number", {}, "7 or 8", "7"),
    ("number", {}, "seven", "7"),
    ("number", {}, "7\n#### none", "7"),
    ("pattern", {"pattern": r"answer is (\w+)"}, "The answer is yes. No: the answer is no.", "yes"),
    ("pattern", {"pattern": r"yes|(no)"}, "yes", "yes"),
    ("pattern", {"pattern": "[Yy]es"}, "no", "yes"),
]


def test_every_kind_has_a_right_and_a_wrong_reply_here() -> None:
    assert {case[0] for case in RIGHT} == {case[0] for case in WRONG} == set(KINDS.names())


@pytest.mark.parametrize(("kind", "settings", "reply", "answer"), RIGHT)
def test_what_is_right(kind: str, settings: dict[str, str], reply: str, answer: str) -> None:
    assert scorer(kind, **settings).is_correct(reply, answer)


@pytest.mark.parametrize(("kind", "settings", "reply", "answer"), WRONG)
def test_what_is_wrong(kind: str, settings: dict[str, str], reply: str, answer: str) -> None:
    assert not scorer(kind, **settings).is_correct(reply, answer)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_found_however_it_is_written(number: Decimal) -> None:
    for written in (f"{number:f}", f"{number:,f}", f"It is {number:f}.", f"1 2 #### {number:f} 3"):
        assert final_number(written) == number


def test_an_answer_that_no_reply_could_agree_with_is_refused() -> None:
    with pytest.raises(UserError, match=r"no number in the answer 'none': set another scorer"):
        scorer("number").validate_answer("none")
    with pytest.raises(UserError, match="every reply contains that"):
        scorer("contains").validate_answer(" ")
    scorer("exact").validate_answer("")


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"'\(' is not a regular expression: missing \)"):
        scorer("pattern", pattern="(")
    with pytest.raises(UserError, match="pattern: is missing"):
        scorer("pattern")
