"""Labelled tables with other names than ours, and those where a person is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.examples import ExampleReading, named_records, read_examples, read_shape
from gptsmith.data.readers import ReadSettings
from gptsmith.data.shapes.labelled import LabelledExample

TEXTS = ["the app crashes", "refund my order", "page is blank", "the invoice is wrong"]
LABELS = ["technical", "billing", "technical", "billing"]


def table(folder: Path, header: str, rows: list[str], name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def labelled(path: Path, **reading: str) -> list[tuple[tuple[str, ...], str | None]]:
    how = ExampleReading(**reading)  # type: ignore[arg-type]
    assert read_shape([path], how) == "labelled"
    found = read_examples([path], "labelled", how).examples
    return [(example.texts, example.label) for example in found if isinstance(example, LabelledExample)]


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("text,label", ","),
        ("Text,Label", ","),
        ("text, label", ", "),
        ('"text","label"', ","),
        ('text, "label"', ", "),
        ("TEXT;CATEGORY", ";"),
        ("text\tclass", "\t"),
        ("sep=;\ntext;label", ";"),
        ("sentence,sentiment", ","),
        ("Message,Intent", ","),
        ("review,target", ","),
    ],
)
def test_columns_of_a_labelled_table_have_many_names(tmp_path: Path, header: str, separator: str) -> None:
    rows = [f"{text}{separator}{label}" for text, label in zip(TEXTS, LABELS, strict=True)]
    path = table(tmp_path, header, rows)
    assert labelled(path) == [((text,), label) for text, label in zip(TEXTS, LABELS, strict=True)]
    places = [example.place for example in read_examples([path], "labelled").examples]
    assert places[0] == f"{path}, line {3 if header.startswith('sep') else 2}"


def test_quotes_after_padding_are_quotes(tmp_path: Path) -> None:
    path = table(tmp_path, "text, label", ['"the app, it crashes", "technical"', "refund it, billing"])
    assert labelled(path) == [(("the app, it crashes",), "technical"), (("refund it",), "billing")]


ROWS = [f"{text} {number},{label}" for number in range(3) for text, label in zip(TEXTS, LABELS, strict=True)]


@pytest.mark.parametrize(
    ("header", "rows", "problem"),
    [
        ("text,verdict", ROWS, "verdict looks like their label .2 different values.*label_field=verdict"),
        (
            "text,category,intent",
            [f"{row},x" for row in ROWS],
            "several fields that can be the label: category, intent",
        ),
        ("title,description,label", [f"the title,{row}" for row in ROWS], "of text: title, description"),
        ("one,other,label", [f"the text,{row}" for row in ROWS], "several fields of text: one, other"),
        ("text,target", [f"the text,the other text {n}" for n in range(9)], "target holds 9 different values"),
        ("id,label", [f"{n},a" for n in range(9)], "no field that looks like text .fields: id .numbers"),
    ],
)
def test_where_it_is_not_clear_a_person_is_asked(tmp_path: Path, header: str, rows: list[str], problem: str) -> None:
    path = table(tmp_path, header, rows)
    with pytest.raises(UserError, match=problem):
        read_shape([path])


def test_a_text_with_its_origin_is_no_labelled_table(tmp_path: Path) -> None:
    rows = [f"{row.split(',')[0]},{'web' if number % 2 else 'news'}" for number, row in enumerate(ROWS)]
    assert read_shape([table(tmp_path, "text,source", rows)]) == "text"
    assert read_shape([table(tmp_path, "text,url", [f"{row},https://x.org" for row in TEXTS])]) == "text"


def test_named_columns_win(tmp_path: Path) -> None:
    path = table(tmp_path, "text,notes,category,verdict", [f"a b,{row},x" for row in ROWS])
    how = {"settings": ReadSettings(text_field="Notes"), "label_field": "category"}
    assert labelled(path, **how)[0] == (("the app crashes 0",), "technical")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has no field stars \(fields: text, notes, category, verdict\)"):
        read_shape([path], ExampleReading(label_field="stars"))


def test_a_conversation_with_a_category_is_a_conversation(tmp_path: Path) -> None:
    path = table(tmp_path, "Instruction,Response,Category", ["Say hi,hi,open_qa"])
    assert read_shape([path]) == "chat"


def test_texts_to_be_labelled_are_found_as_those_that_were_learnt(tmp_path: Path) -> None:
    path = table(tmp_path, "Review,Notes", [f"{text},a note" for text in TEXTS])
    names = next(named_records([path], ExampleReading(has_labels=False, usual_text="review"))).fields
    assert names["text"] == TEXTS[0]
