"""Fields of conversations and preferences: each is read, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import fingerprint
from gptsmith.data.examples import ExampleReading, read_examples, read_shape
from gptsmith.data.shapes import Example
from gptsmith.data.turns import UNREAD_IN_PREFERENCES, UNREAD_RECORD_FIELDS, UNREAD_TURN_FIELDS, hh_turns

USER = {"role": "user", "content": "Q"}
ANSWER = {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}


def example_of(folder: Path, record: dict[str, Any], **reading: Any) -> Example:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    how = ExampleReading(**reading)
    (example,) = read_examples([path], read_shape([path], how), how).examples
    return example


def messages_of(folder: Path, record: dict[str, Any], **reading: Any) -> list[dict[str, Any]]:
    return [dict(message) for message in example_of(folder, record, **reading).messages]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["system", "system_prompt", "System_Message", "developer"])
@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": [USER, ANSWER]}, [SYSTEM, USER, ANSWER]),
        ({"messages": [SYSTEM, USER, ANSWER]}, [SYSTEM, USER, ANSWER]),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, [SYSTEM, USER, ANSWER]),
        ({"question": "Q", "response": "A"}, [SYSTEM, USER, ANSWER]),
        ({"instruction": "Q", "output": "A"}, [SYSTEM, USER, ANSWER]),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, [SYSTEM, USER]),
        ({"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "B"}]}, [SYSTEM, USER]),
        ({"prompt": "Q", "completion": "A", "label": True}, [SYSTEM, USER]),
    ],
)
def test_a_system_prompt_beside_the_turns_is_the_first_turn(
    tmp_path: Path, name: str, record: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert messages_of(tmp_path, {name: "S", **record}) == expected
    assert messages_of(tmp_path, {name: None, **record})[-1] == expected[-1]


def test_two_system_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a system and another system turn"):
        messages_of(tmp_path, {"system": "other", "messages": [SYSTEM, USER, ANSWER]})


def test_a_developer_is_the_system(tmp_path: Path) -> None:
    assert messages_of(tmp_path, {"messages": [{**SYSTEM, "role": "developer"}, USER, ANSWER]}) == [
        SYSTEM,
        USER,
        ANSWER,
    ]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        *((name, {"messages": [USER, ANSWER]}) for name in UNREAD_RECORD_FIELDS),
        *((name, {"prompt": "Q", "chosen": "A", "rejected": "B"}) for name in UNREAD_IN_PREFERENCES),
        *((name, {"prompt": "Q", "completion": "A", "label": False}) for name in UNREAD_IN_PREFERENCES),
    ],
)
def test_fields_of_a_record_that_nothing_reads_are_refused_by_name(
    tmp_path: Path, name: str, record: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=rf"line 1: the record has {name}, .*ignored_fields=\[\"{name}\"\]"):
        example_of(tmp_path, {**record, name: [{"type": "function"}]})
    assert example_of(tmp_path, {**record, name: [{"type": "function"}]}, ignored_fields=[name]).place
    for nothing in (None, [], {}, ""):
        assert example_of(tmp_path, {**record, name: nothing, "id": 7, "source": "web"}).place


@pytest.mark.parametrize("name", UNREAD_TURN_FIELDS)
def test_fields_of_a_turn_that_nothing_reads_are_refused_by_name(tmp_path: Path, name: str) -> None:
    turns = [USER, {**ANSWER, name: ["x"]}]
    for record in (
        {"messages": turns},
        {"conversations": turns},
        {"prompt": [USER], "completion": turns[1:]},
        {"prompt": [USER], "chosen": turns, "rejected": [USER, {**ANSWER, "content": "B"}]},
    ):
        with pytest.raises(UserError, match=rf"line 1: turn \d has {name}"):
            example_of(tmp_path, record)
    assert messages_of(tmp_path, {"messages": turns}, ignored_fields=[name]) == [USER, ANSWER]
    assert messages_of(tmp_path, {"messages": [USER, {**ANSWER, name: None, "id": "x"}]}) == [USER, ANSWER]


def test_parts_that_are_no_text_are_refused(tmp_path: Path) -> None:
    picture = {"role": "user", "content": [{"type": "text", "text": "Q"}, {"type": "image_url", "image_url": {}}]}
    with pytest.raises(UserError, match=r"line 1: turn 1 has a part that is no text \(image_url\)"):
        example_of(tmp_path, {"messages": [picture, ANSWER]})
    with pytest.raises(UserError, match=r"line 1: turn 2 has a call that is a record of 1 fields: write"):
        example_of(tmp_path, {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}]})


@pytest.mark.parametrize(("name", "no", "yes"), [("weight", 0, 1), ("weight", 0.0, 1.0), ("train", False, True)])
def test_weights_of_turns_say_which_are_learnt(tmp_path: Path, name: str, no: Any, yes: Any) -> None:
    turns = [USER, {**ANSWER, name: no}, USER, {**ANSWER, name: yes}]
    assert messages_of(tmp_path, {"messages": turns}) == [USER, {**ANSWER, "train": False}, USER, ANSWER]
    with pytest.raises(UserError, match="no turn of the assistant is to be learnt"):
        messages_of(tmp_path, {"messages": turns[:2]})
    with pytest.raises(UserError, match=rf"turn 2 has {name} 0.5: allowed are 0 or false"):
        messages_of(tmp_path, {"messages": [USER, {**ANSWER, name: 0.5}]})


def test_turns_before_a_question_and_its_context_are_read(tmp_path: Path) -> None:
    record = {"instruction": "Q", "input": "", "output": "A", "history": [["q", "a"]]}
    assert [message["content"] for message in messages_of(tmp_path, record)] == ["q", "a", "Q", "A"]
    record = {"question": "Q", "context": "C", "answer": "A"}
    assert [message["content"] for message in messages_of(tmp_path, record)] == ["Q\n\nC", "A"]


BEFORE = [USER, ANSWER, {"role": "user", "content": "And?"}]
HH = "\n\nHuman: Q\n\nAssistant: A\n\nHuman: And?\n\nAssistant:"
GOOD, BAD = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}


@pytest.mark.parametrize(
    ("record", "shared"),
    [
        ({"chosen": [*BEFORE, GOOD], "rejected": [*BEFORE, BAD]}, BEFORE),
        ({"prompt": "Q", "chosen": [*BEFORE, GOOD], "rejected": [*BEFORE, BAD]}, BEFORE),
        ({"prompt": BEFORE, "chosen": [*BEFORE, GOOD], "rejected": [*BEFORE, BAD]}, BEFORE),
        ({"prompt": BEFORE, "chosen": [GOOD], "rejected": [BAD]}, BEFORE),
        ({"prompt": BEFORE, "chosen": "good", "rejected": "bad"}, BEFORE),
        ({"prompt": [SYSTEM, *BEFORE], "chosen": [*BEFORE, GOOD], "rejected": [*BEFORE, BAD]}, [SYSTEM, *BEFORE]),
        (
            {
                "chosen": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: And?\n\nAssistant: good",
                "rejected": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: And?\n\nAssistant: bad",
            },
            BEFORE,
        ),
        (
            {
                "prompt": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: And?\n\nAssistant:",
                "chosen": "good",
                "rejected": "bad",
            },
            BEFORE,
        ),
        ({"chosen": "Q\ngood", "rejected": "Q\nbad"}, [USER]),
        ({"prompt": "Q", "chosen": "Qgood", "rejected": "Qbad"}, [USER]),
    ],
)
def test_what_chosen_and_rejected_share_is_the_prompt(
    tmp_path: Path, record: dict[str, Any], shared: list[dict[str, Any]]
) -> None:
    example: Any = example_of(tmp_path, record)
    assert [dict(message) for message in example.messages] == shared
    assert (example.chosen.strip(), example.rejected.strip()) == ("good", "bad")


@pytest.mark.parametrize(
    ("chosen", "rejected", "problem"),
    [
        ([*BEFORE, GOOD], [USER, BAD, BEFORE[2], BAD], "differ from turn 2 on"),
        ([*BEFORE, GOOD], BEFORE, "differ from turn 4 on"),
        ([*BEFORE, GOOD], [*BEFORE, GOOD], "are the same"),
        ("good", "bad", "prompt is missing"),
    ],
)
def test_completions_of_different_conversations_are_refused(
    tmp_path: Path, chosen: Any, rejected: Any, problem: str
) -> None:
    with pytest.raises(UserError, match=rf"line 1: .*{problem}"):
        example_of(tmp_path, {"chosen": chosen, "rejected": rejected})


def test_a_text_that_begins_otherwise_is_no_hh(tmp_path: Path) -> None:
    assert hh_turns("Is this Human: no?") is None
    assert hh_turns("\n\nHuman: a\n\nb Assistant: c\n\nAssistant: d") == [
        {"role": "user", "content": "a\n\nb Assistant: c"},
        {"role": "assistant", "content": "d"},
    ]


FUNCTION = {"name": "forge", "description": "Forge.", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"type": "function", "function": {"name": "forge", "arguments": {"thing": "nail"}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "done"}


@pytest.mark.parametrize(
    "tools",
    [
        {"tools": [TOOL]},
        {"tools": [FUNCTION]},
        {"tools": json.dumps([TOOL])},
        {"tools": [json.dumps(TOOL)]},
        {"functions": [FUNCTION]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": None}}]},  # as tables fill it in
    ],
)
@pytest.mark.parametrize(
    "calling",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"name": "forge", "arguments": {"thing": "nail"}}]},
        {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "content": "", "function_call": {"name": "forge", "arguments": '{"thing": "nail"}'}},
        {"from": "function_call", "value": '{"name": "forge", "arguments": {"thing": "nail"}}'},
    ],
)
@pytest.mark.parametrize("result", [RESULT, {"from": "observation", "value": "done"}, {**RESULT, "role": "function"}])
def test_tools_and_calls_are_read_in_every_form(
    tmp_path: Path, tools: dict[str, Any], calling: dict[str, Any], result: dict[str, Any]
) -> None:
    example = example_of(tmp_path, {"messages": [USER, calling, result, ANSWER], **tools})
    assert example.tools == (TOOL,)  # type: ignore[attr-defined]
    assert list(example.messages) == [USER, CALLING, RESULT, ANSWER]  # type: ignore[attr-defined]


def test_a_conversation_may_end_with_a_call_and_name_it(tmp_path: Path) -> None:
    calling = {**CALLING, "tool_calls": [{"id": "c1", **CALL}]}
    assert messages_of(tmp_path, {"messages": [USER, calling]})[-1] == calling
    result = {**RESULT, "tool_call_id": "c1", "name": "forge"}
    assert messages_of(tmp_path, {"messages": [USER, calling, result, ANSWER]})[2] == result


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking", "thoughts", None])
def test_thoughts_are_read_from_their_field_or_from_the_beginning_of_the_answer(
    tmp_path: Path, name: str | None
) -> None:
    turn = {**ANSWER, name: "Hm."} if name else {**ANSWER, "content": "<think>\nHm.\n</think>\n\nA"}
    assert messages_of(tmp_path, {"messages": [USER, turn]})[-1] == {**ANSWER, "reasoning_content": "Hm."}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"messages": [USER, ANSWER], "tools": [{"type": "retrieval"}]}, "tool 1 is a record of 1 fields: write tools"),
        ({"messages": [USER, ANSWER], "tools": [TOOL, TOOL]}, "two tools that are called forge"),
        ({"messages": [USER, ANSWER], "tools": "[forge"}, "tools of the record is a text, but not JSON"),
        (
            {"messages": [USER, {**CALLING, "tool_calls": [{"name": "forge", "arguments": "a nail"}]}]},
            "turn 2 calls forge with 'a nail': arguments are an object",
        ),
        ({"messages": [{**USER, "tool_calls": [CALL]}, ANSWER]}, "turn 1 is the user's, and has calls"),
        ({"messages": [USER, {**ANSWER, "thinking": ["x"]}]}, "the thinking of turn 2 is a list of 1, not a text"),
        ({"prompt": [USER], "completion": [CALLING], "label": True}, "the completion calls a tool"),
        ({"chosen": [USER, CALLING], "rejected": [USER, ANSWER]}, "the chosen calls a tool"),
        ({"prompt": [USER], "chosen": [{**ANSWER, "thinking": "x"}], "rejected": "B"}, "the chosen has thoughts"),
    ],
)
def test_tools_calls_and_thoughts_that_cannot_be_read_are_named(
    tmp_path: Path, record: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=f"line 1: .*{problem}"):
        example_of(tmp_path, record)


def test_examples_without_tools_keep_their_fingerprint(tmp_path: Path) -> None:
    plain = example_of(tmp_path, {"messages": [USER, ANSWER]})
    with_tools = example_of(tmp_path, {"messages": [USER, ANSWER], "tools": [TOOL]})
    assert fingerprint([plain]) == "a62b3ce9741b3c3d0b9d58108c2adafc0837394593cc30a3addf9af9cd383eeb"
    assert fingerprint([with_tools]) != fingerprint([plain])
