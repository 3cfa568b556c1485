"""Records to examples: which shapes are known, what is refused, and how examples are divided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.examples import read_examples, read_shape
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceExample

ASKED = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def written(folder: Path, *records: Any, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"messages": ASKED},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"prompt": "Q", "completion": "A", "id": 7},
        {"question": "Q", "answer": "A"},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "response": "A"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, ASKED[1]]},
        {"prompt": [ASKED[0]], "response": "A"},
    ],
)
def test_every_shape_of_a_conversation_is_known(tmp_path: Path, record: dict[str, Any]) -> None:
    path = written(tmp_path, record)
    assert read_shape([path]) == "chat"
    (example,) = read_examples([path], "chat").examples
    assert isinstance(example, ChatExample)
    assert [dict(message) for message in example.messages] == ASKED
    assert example.place == f"{path}, line 1"


def test_the_input_and_the_system_of_an_instruction_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be exact."})
    (example,) = read_examples([path], "chat").examples
    assert isinstance(example, ChatExample)
    assert [message["content"] for message in example.messages] == ["Be exact.", "Add.\n\n1 2", "3"]


@pytest.mark.parametrize(
    ("record", "form", "texts"),
    [
        ({"text": "fine", "label": "pos"}, "text", ("fine",)),
        ({"sentence": "fine", "label": 1}, "text", ("fine",)),
        ({"premise": "a", "hypothesis": "b", "label": "yes"}, "entailment", ("a", "b")),
        ({"sentence1": "a", "sentence2": "b", "label": "same"}, "similarity", ("a", "b")),
        ({"question": "q", "choices": ["x", "y"], "label": 1}, "choice", ("q", "x", "y")),
    ],
)
def test_every_shape_of_a_labelled_example_is_known(
    tmp_path: Path, record: dict[str, Any], form: str, texts: tuple[str, ...]
) -> None:
    path = written(tmp_path, record)
    assert read_shape([path]) == "labelled"
    (example,) = read_examples([path], "labelled").examples
    assert isinstance(example, LabelledExample)
    assert (example.form, example.texts, example.label) == (form, texts, str(record["label"]))


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": [ASKED[0]], "chosen": "A", "rejected": "B"},
        {"chosen": ASKED, "rejected": [ASKED[0], {"role": "assistant", "content": "B"}]},
        {"question": "Q", "chosen": "A", "rejected": "B"},
    ],
)
def test_every_shape_of_a_preference_is_known(tmp_path: Path, record: dict[str, Any]) -> None:
    path = written(tmp_path, record)
    assert read_shape([path]) == "preference"
    (example,) = read_examples([path], "preference").examples
    assert isinstance(example, PreferenceExample)
    assert (dict(example.messages[0]), example.chosen, example.rejected) == (ASKED[0], "A", "B")


@pytest.mark.parametrize(("label", "is_desirable"), [(True, True), (False, False), ("True", True), ("false", False)])
def test_every_shape_of_an_unpaired_preference_is_known(tmp_path: Path, label: Any, is_desirable: bool) -> None:
    for record in (
        {"prompt": "Q", "completion": "A", "label": label},
        {"prompt": [ASKED[0]], "completion": [ASKED[1]], "label": label},
    ):
        path = written(tmp_path, record)
        assert read_shape([path]) == "unpaired_preference"
        (example,) = read_examples([path], "unpaired_preference").examples
        assert isinstance(example, UnpairedPreferenceExample)
        assert (dict(example.messages[0]), example.completion) == (ASKED[0], "A")
        assert example.is_desirable is is_desirable


def test_a_conversation_with_another_label_is_a_conversation(tmp_path: Path) -> None:
    assert read_shape([written(tmp_path, {"prompt": "Q", "completion": "A", "label": "physics"})]) == "chat"


def test_tables_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("label,text\npos,fine\nneg,bad\n", encoding="utf-8")
    found = read_examples([tmp_path / "data.csv"], "labelled").examples
    assert [(example.place, example.texts, example.label) for example in found] == [  # type: ignore[attr-defined]
        (f"{tmp_path / 'data.csv'}, line 2", ("fine",), "pos"),
        (f"{tmp_path / 'data.csv'}, line 3", ("bad",), "neg"),
    ]
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"question": ["Q"], "answer": ["A"], "n": [1]}), tmp_path / "data.parquet")
    (example,) = read_examples([tmp_path / "data.parquet"], "chat").examples
    assert example.place.endswith("row 1")


def test_a_text_beside_examples_is_not_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once.", encoding="utf-8")
    path = written(tmp_path, {"prompt": "Q", "response": "A"})
    with pytest.raises(UserError, match=r"book\.txt holds no records"):
        read_examples([path, tmp_path / "book.txt"], "chat")
    assert len(read_examples([tmp_path], "chat").examples) == 1  # of a folder, files of examples are taken


def test_plain_text_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once.", encoding="utf-8")
    assert read_shape([tmp_path / "book.txt"]) == "text"
    assert read_shape([written(tmp_path, {"text": "no label"})]) == "text"
    with pytest.raises(
        UserError, match=r'line 1: expected fields of preference \(.*plain text \(text\): \{"answer": "A"\}'
    ):
        read_shape([written(tmp_path, {"answer": "A"})])


@pytest.mark.parametrize(
    ("shape", "record", "problem"),
    [
        ("chat", {"text": "x"}, r'line 2: expected fields of chat .*: \{"text": "x"\}'),
        ("chat", {"messages": [ASKED[0]]}, "no turn of the assistant"),
        ("chat", {"messages": [*ASKED, ASKED[0]]}, "ends with the user's turn"),
        ("chat", {"prompt": "Q", "response": "  "}, "empty: there is nothing to learn"),
        ("chat", {"prompt": "Q", "response": None}, "answer is None"),
        ("chat", {"messages": []}, "list of turns"),
        ("chat", {"messages": 3}, "expected fields of chat"),
        ("labelled", {"text": "x", "label": None}, "label is missing"),
        ("labelled", {"text": " ", "label": "a"}, "nothing to read"),
        ("labelled", {"label": "a"}, "expected fields of labelled"),
        ("preference", {"prompt": "Q", "chosen": "A", "rejected": "A"}, "are the same"),
        ("preference", {"chosen": "A", "rejected": "B"}, "prompt is missing"),
        ("preference", {"prompt": "Q", "chosen": "A"}, "expected fields of preference"),
        ("unpaired_preference", {"prompt": "Q", "completion": "A", "label": "good"}, "label is 'good': give true"),
        ("unpaired_preference", {"prompt": "Q", "completion": " ", "label": True}, "completion is empty"),
        ("unpaired_preference", {"prompt": "Q", "label": True}, "expected fields of unpaired_preference"),
    ],
)
def test_what_cannot_be_learnt_from_is_named_by_its_line(
    tmp_path: Path, shape: str, record: dict[str, Any], problem: str
) -> None:
    good = {
        "chat": {"prompt": "Q", "response": "A"},
        "labelled": {"text": "x", "label": "a"},
        "preference": {"prompt": "Q", "chosen": "A", "rejected": "B"},
        "unpaired_preference": {"prompt": "Q", "completion": "A", "label": True},
    }
    path = written(tmp_path, good[shape], record)
    with pytest.raises(UserError, match=problem) as caught:
        read_examples([path], shape)
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "answers", "bad"),
    [
        (['"c" x,d', "e,f"], ["f"], 3),
        (['"c,d', "e,f", "g,h"], ["f", "h"], 3),  # a quote that nothing closes takes only its own row
        (['"c,d', '"e","f"', "g,h"], ["f", "h"], 3),
        (['"c', 'd",e', '"f'], ["e"], 5),
    ],
)
def test_a_row_that_is_none_is_a_bad_example(tmp_path: Path, rows: list[str], answers: list[str], bad: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["question,answer", "a,b", *rows]) + "\n", encoding="utf-8")
    read = read_examples([path], "chat", skip_bad=True)
    assert [example.messages[-1]["content"] for example in read.examples] == ["b", *answers]  # type: ignore[attr-defined]
    assert "not a row" in "".join(read.skipped.lines())
    with pytest.raises(UserError, match=f"rows.csv, line {bad}: not a row"):
        read_examples([path], "chat")
