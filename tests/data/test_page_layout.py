"""Pages without their running heads."""

from __future__ import annotations

from gptsmith.data.page_layout import Line, Page, paragraphs


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
