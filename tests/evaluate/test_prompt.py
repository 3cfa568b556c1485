"""Questions as texts and as conversations."""

from __future__ import annotations

from gptsmith.evaluate.prompt import Prompt, user

SYSTEM = {"role": "system", "content": "Be brief."}


def test_a_question_is_laid_out_as_text() -> None:
    prompt = Prompt.from_messages([user("What is iron?")])
    assert prompt.text == "Question: What is iron?\nAnswer:"
    assert prompt.messages == (user("What is iron?"),)


def test_a_conversation_is_laid_out_turn_by_turn() -> None:
    turns = [SYSTEM, user("Who?"), {"role": "assistant", "content": "The smith."}, user("What?")]
    prompt = Prompt.from_messages(turns)
    assert prompt.text == "Be brief.\nQuestion: Who?\nAnswer: The smith.\nQuestion: What?\nAnswer:"
    assert prompt.messages == tuple(turns)


def test_shots_come_before_as_text_and_as_turns() -> None:
    prompt_alone = Prompt.from_messages([SYSTEM, user("c?")])
    shots = [(Prompt.from_messages([SYSTEM, user("a?")]), "A"), (Prompt.from_text("b is "), "B")]
    prompt = prompt_alone.with_shots(shots)
    assert prompt.text == "Be brief.\nQuestion: a?\nAnswer: A\n\nb is B\n\n" + prompt_alone.text
    assert [message["role"] for message in prompt.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert [message["content"] for message in prompt.messages] == ["Be brief.", "a?", "A", "b is ", "B", "c?"]
    assert prompt_alone.with_shots([]) == prompt_alone


def test_the_white_space_before_an_answer_is_that_of_the_text() -> None:
    gaps = {"a": " ", "a ": " ", "a\n": "\n", "a \n": " \n"}
    assert {text: Prompt.from_text(text).space for text in gaps} == gaps
