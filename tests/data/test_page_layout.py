"""Pages without their running heads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gptsmith.data.page_layout import Line, Page, in_reading_order, paragraphs
from gptsmith.data.readers import KINDS, ReadSettings, SourceFile
from tests.pdf_file import pdf_of


def page(*texts: str) -> Page:
    return Page([Line(text, 70, 700 - 20 * at, 300, 711 - 20 * at) for at, text in enumerate(texts)], 800)


def test_pages_of_the_same_lines_keep_them() -> None:
    same = "The form of the guild,", "to be signed by the smith", "and by the apprentice."
    assert " ".join(paragraphs([page(*same)] * 4)).count("signed") == 4


def test_heads_and_numbers_are_off_where_a_page_has_text_of_its_own_or_nothing_but_its_number() -> None:
    words = "The forge was cold that day.", "Nobody came to light the fire.", "In spring it burnt again."
    pages = [page("The smiths of the valley", text, str(at)) for at, text in enumerate(words, 1)]
    number_alone = Page(page("", "", "4").lines[2:], 800)
    assert " ".join(paragraphs([*pages, number_alone])) == " ".join(words)


def drawn(*rows: tuple[tuple[float, str], ...], top: float = 700) -> list[Line]:
    """Pieces of print in the order of the file: for each row the left edges and the texts."""
    return [
        Line(text, left, top - 14 * number, left + 5 * len(text), top - 14 * number + 11)
        for number, row in enumerate(rows)
        for left, text in row
    ]


PROSE = [
    ["The harbour lies quiet in", "of the morning. Nobody knew", "where the boats had gone to"],
    ["the light of the moon, and", "who had left the lamps out", "until the gulls came back"],
    ["the smith sleeps until the", "on the quay, and nobody is", "with the tide, and then all"],
    ["first boats come in. He is", "going to ask before spring", "of them spoke of the storm."],
]


@pytest.mark.parametrize("num_columns", [2, 3])
def test_columns_that_are_drawn_row_by_row_are_read_one_after_the_other(num_columns: int) -> None:
    rows = [tuple((70 + 160 * at, text) for at, text in enumerate(row[:num_columns])) for row in PROSE]
    expected = " ".join(row[at] for at in range(num_columns) for row in PROSE)
    head = Line("A heading that stands over all of the columns of this page", 70, 730, 540, 741)
    assert [*paragraphs([Page([head, *drawn(*rows)], 800)])] == [head.text, expected]


TABLE = drawn(
    ((70, "Name"), (200, "Catch"), (300, "Price")),
    ((70, "North quay"), (200, "12"), (300, "1.50")),
    ((70, "South"), (300, "0.75")),
    ((70, "Old harbour"), (205, "7"), (300, "10.25")),
)  # fmt: skip


def test_rows_of_a_table_are_lines_with_their_cells_apart() -> None:
    before = Line("What was sold in the year of the storm, by the place where it was sold.", 70, 730, 420, 741)
    after = Line("The old harbour was sold in spring.", 70, 630, 250, 641)
    table = "Name\tCatch\tPrice\nNorth quay\t12\t1.50\nSouth\t\t0.75\nOld harbour\t7\t10.25"
    assert [*paragraphs([Page([before, *TABLE, after], 800)])] == [before.text, table, after.text]


@pytest.mark.parametrize("rows", [
    [((70, "A line of words"), (200, "with a gap in it")), ((70, "and another line"), (230, "with one elsewhere"))],
    [((70, "gaps"), (110, "that are in")), ((70, "justified prose of"), (190, "lines")), ((70, "and so"), (140, "on"))],
])  # fmt: skip
def test_few_rows_and_gaps_that_are_not_below_each_other_are_no_table(
    rows: list[tuple[tuple[float, str], ...]],
) -> None:
    assert not any(line.is_row for line in in_reading_order(drawn(*rows)))


def test_no_word_of_a_page_is_lost_or_doubled_whatever_stands_where() -> None:
    chance = random.Random(0)
    for _ in range(200):
        rows = []
        for row in range(chance.randint(1, 8)):
            lefts = sorted(chance.sample(range(60, 560, 50), chance.randint(1, 4)))
            rows.append(tuple((left, f"w{row}x{left}" * chance.randint(1, 4)) for left in lefts))
        lines = drawn(*rows)
        words = "".join(paragraphs([Page(lines, 800)])).replace("\t", "").replace("\n", "").replace(" ", "")
        assert sorted(words) == sorted("".join(line.text for line in lines))


def test_a_table_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf_of([(line.left, line.bottom, line.text) for line in TABLE]))
    (chunk,) = KINDS.validate("pdf").read(SourceFile(path, ".pdf"), ReadSettings())
    assert chunk.text == "Name\tCatch\tPrice\nNorth quay\t12\t1.50\nSouth\t\t0.75\nOld harbour\t7\t10.25"
