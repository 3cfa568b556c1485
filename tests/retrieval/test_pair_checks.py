"""Pairs that cannot be true by their passage are dropped, each for its reason."""

from __future__ import annotations

import pytest

from gptsmith.retrieval.pair_checks import PairChecks

PASSAGE = (
    "Aldric Penhallow opened the forge in Tolver in 1873. He quenched every blade in whale oil, because water cracked."
)


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        ("Who opened the forge in Tolver?", "Aldric Penhallow", ""),
        ("In what did he quench the blade of a forge?", "Whale  oil.", ""),
        ("Who opened the forge in Tolver?", "Ines Trevose", "the answer is not in the passage"),
        ("Who opened the forge in Tolver?", "dric Pen", "the answer is not in the passage"),
        ("Did Aldric Penhallow open the forge?", "Aldric Penhallow", "the question has the answer in it"),
        ("He quenched every blade in whale oil because water?", "Aldric", "the question is a copy"),
        ("Opened the forge in Tolver?", "1873", "the question is a copy"),
        ("What is the meaning of life?", "Aldric", "the question is not about the passage"),
        ("What is it?", "Aldric", "the question is not about the passage"),
        ("Who opened the forge?", "...", "nothing is asked or answered"),
        ("Who opened the forge?", "He", "nothing is asked or answered"),
        ("Who opened the forge?", " ".join(f"word{n}" for n in range(20)), "the answer is long"),
        ("", "", "nothing is asked or answered"),
    ],
)
def test_a_pair_is_dropped_for_its_reason(question: str, answer: str, problem: str) -> None:
    assert PairChecks().problem(question, answer, PASSAGE) == problem


def test_questions_that_are_nearly_the_same_are_dropped() -> None:
    checks = PairChecks()
    assert checks.problem("Who opened the forge in Tolver?", "Aldric Penhallow", PASSAGE) == ""
    assert checks.problem("Tolver: who opened its forge?", "Aldric", PASSAGE) == "it is nearly the same as another"
    assert checks.problem("When was the blade in the forge cracked?", "1873", PASSAGE) == ""


def test_chinese_pairs() -> None:
    passage = "铁匠铺在杭州西湖边。老铁匠名叫王大锤，他每天打造三把剑。"
    assert PairChecks().problem("老铁匠叫什么名字？", "王大锤", passage) == ""
    assert PairChecks().problem("老铁匠叫什么名字？", "李小刀", passage) == "the answer is not in the passage"
