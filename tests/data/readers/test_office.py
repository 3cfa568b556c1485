"""Office files, books and letters that LibreOffice wrote (office/make.sh): no word is lost, however it is wrapped."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from gptsmith.base.errors import DataError
from gptsmith.data import packages
from gptsmith.data.discover import discover, readers_by_extension
from gptsmith.data.readers import ReadSettings, SourceFile
from gptsmith.data.reading import read_documents, read_records

OFFICE = Path(__file__).parent / "office"
SENTENCES = (
    "Harbour Größe",
    "Plain words, spanned words, a linked word, inserted words and",
    "more 🙂.",
    "Words of the footnote.",
    "Words of the endnote.",
    "First item",
    "Inner item",
    "Second item",
    "Bulleted item",
    "Boxed:",
    "Words in a box.",
    "Merged head",
    "North",
    "then the end.",
)


def text_of(path: Path, settings: ReadSettings | None = None) -> str:
    file = SourceFile(path, path.suffix)
    chunks = read_documents(readers_by_extension()[path.suffix], file, settings or ReadSettings())
    return "".join(chunk.text for chunk in chunks)


def package(path: Path, parts: dict[str, str]) -> Path:
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def docx(path: Path, body: str, **parts: str) -> Path:
    """A Word file with this body, and related parts by their names."""
    relations = "".join(f'<Relationship Id="{name}" Target="{name}.xml"/>' for name in parts)
    return package(
        path,
        {
            "_rels/.rels": '<r><Relationship Type="x/officeDocument" Target="word/document.xml"/></r>',
            "word/document.xml": f"<document><body>{body}</body></document>",
            "word/_rels/document.xml.rels": f"<r>{relations}</r>",
            **{f"word/{name}.xml": content for name, content in parts.items()},
        },
    )


@pytest.mark.parametrize("extension", [".odt", ".docx", ".rtf", ".epub"])
def test_every_word_of_a_document_is_read_once(extension: str) -> None:
    text = text_of(OFFICE / f"text{extension}")
    for sentence in SENTENCES:
        assert text.count(sentence) == 1, sentence
    assert text.index("Harbour") < text.index("First item") < text.index("Second item") < text.index("then the end")


@pytest.mark.parametrize("extension", [".odt", ".docx", ".rtf"])
def test_deleted_text_is_off_and_tables_and_lists_have_their_form(extension: str) -> None:
    text = text_of(OFFICE / f"text{extension}")
    assert "withdrawn" not in text
    assert "North\tTwo lines in a cell\n\nTab\tand   spaces,\nthen the end." in text
    assert all(mark in text for mark in ("1. First", "a) Inner", "2. Second", "- Bulleted"))


@pytest.mark.parametrize("extension", [".odp", ".pptx"])
def test_slides_are_read_in_order_with_their_notes(extension: str) -> None:
    text = text_of(OFFICE / f"slides{extension}")
    assert text == "First slide\n\nBoats come in.\n\nGulls go out.\n\nWords for the speaker.\n\nSecond slide"


@pytest.mark.parametrize("extension", [".ods", ".xlsx"])
def test_sheets_are_lines_of_cells_with_dates_as_dates(extension: str) -> None:
    assert text_of(OFFICE / f"sheet{extension}") == (
        "question\tanswer\tday\n"
        "What is sold, and where?\tFish, on the quay\t2026-11-27\n"
        "How many boats?\t12\t2026-01-02"
    )


def test_sheet_is_records_for_examples() -> None:
    records = read_records(readers_by_extension()[".xlsx"], SourceFile(OFFICE / "sheet.xlsx", ".xlsx"), ReadSettings())
    assert [(record.place, dict(record.fields)) for record in records] == [
        (
            "row 2",
            {"question": "What is sold, and where?", "answer": "Fish, on the quay", "day": "2026-11-27"},
        ),
        ("row 3", {"question": "How many boats?", "answer": "12", "day": "2026-01-02"}),
    ]


def test_pdf_is_paragraphs() -> None:
    text = text_of(OFFICE / "text.pdf")
    assert "Plain words, spanned words, a linked word, inserted words and withdrawn more 🙂." in text


@pytest.mark.parametrize("path", sorted(OFFICE.glob("*.[deoprx]*")), ids=lambda path: path.name)
def test_named_file_without_its_extension_is_read_as_its_kind(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "nameless")
    (candidate,) = discover([tmp_path / "nameless"]).candidates
    assert text_of(path) == "".join(
        chunk.text for chunk in read_documents(candidate.reader, candidate.file, ReadSettings())
    )


WRAPPERS = (
    "<ins>{}</ins>",
    "<sdt><sdtContent>{}</sdtContent></sdt>",
    "<hyperlink>{}</hyperlink>",
    "<fldSimple>{}</fldSimple>",
    "<smartTag>{}</smartTag>",
    "<moveTo>{}</moveTo>",
    "<customXml>{}</customXml>",
    "<bdo>{}</bdo>",
    "<r><AlternateContent><Choice><txbxContent><p>{}</p></txbxContent></Choice></AlternateContent></r>",
    "<oMath>{}</oMath>",
    "<ruby><rubyBase>{}</rubyBase></ruby>",
)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_no_wrapper_loses_the_words_in_it(wrapper: str, tmp_path: Path) -> None:
    run = wrapper.format("<r><t>inside</t></r>")
    in_cell = f"<tbl><tr><tc><p>{run}</p></tc><tc><p><r><t>b</t></r></p></tc></tr></tbl>"
    text = text_of(docx(tmp_path / "a.docx", f"<p><r><t>before </t></r>{run}<r><t> after</t></r></p>{in_cell}"))
    assert text.count("inside") == 2
    assert text.count("before") == text.count("after") == 1
    assert text.endswith("inside\tb")


@pytest.mark.parametrize(
    "body",
    [
        "<p><del><r><delText>gone</delText></r></del><r><t>kept</t></r></p>",
        "<p><moveFrom><r><t>gone</t></r></moveFrom><r><t>kept</t></r></p>",
        "<p><r><instrText>gone</instrText></r><r><t>kept</t></r></p>",
        "<p><r><AlternateContent><Choice><t>kept</t></Choice><Fallback><t>gone</t></Fallback></AlternateContent></r></p>",
    ],
)
def test_what_the_document_does_not_show_is_not_read(body: str, tmp_path: Path) -> None:
    assert text_of(docx(tmp_path / "a.docx", body)) == "kept"


def test_merged_cells_are_read_once(tmp_path: Path) -> None:
    body = (
        '<tbl><tr><tc><tcPr><vMerge val="restart"/></tcPr><p><r><t>tall</t></r></p></tc>'
        "<tc><p><r><t>a</t></r></p></tc></tr>"
        "<tr><tc><tcPr><vMerge/></tcPr><p/></tc><tc><p><r><t>b</t></r></p></tc></tr>"
        '<tr><tc><tcPr><vMerge val="nonsense"/><gridSpan val="x"/></tcPr><p/></tc></tr></tbl>'
    )
    assert text_of(docx(tmp_path / "a.docx", body)) == "tall\ta\n\tb"


def test_numbers_count_as_word_counts(tmp_path: Path) -> None:
    numbering = (
        '<numbering><abstractNum abstractNumId="7">'
        '<lvl ilvl="0"><start val="3"/><numFmt val="upperRoman"/><lvlText val="%1."/></lvl>'
        '<lvl ilvl="1"><numFmt val="lowerLetter"/><lvlText val="%1.%2)"/></lvl></abstractNum>'
        '<num numId="1"><abstractNumId val="7"/></num></numbering>'
    )
    styles = '<styles><style styleId="Listed"><pPr><numPr><numId val="1"/></numPr></pPr></style></styles>'

    def item(words: str, depth: int | None = None) -> str:
        own = '<pStyle val="Listed"/>' if depth is None else f'<numPr><ilvl val="{depth}"/><numId val="1"/></numPr>'
        return f"<p><pPr>{own}</pPr><r><t>{words}</t></r></p>"

    body = item("a") + item("b", 1) + item("c", 1) + item("d") + item("e", 1) + "<p><r><t>plain</t></r></p>"
    assert text_of(docx(tmp_path / "a.docx", body, numbering=numbering, styles=styles)).split("\n\n") == [
        "III. a",
        "III.a) b",
        "III.b) c",
        "IV. d",
        "IV.a) e",
        "plain",
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<p>" * (packages.MAX_DEPTH + 10), "nests its elements over"),
        ("<p></q>", "not sound XML"),
        ("<p><r><t>cut", "not sound XML"),
    ],
)
def test_hostile_xml_is_a_line_for_a_person(body: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        text_of(docx(tmp_path / "a.docx", body))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_entities_are_refused_before_they_expand(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><document><p><r><t>&b;</t></r></p></document>'
    path = package(
        tmp_path / "a.docx",
        {"_rels/.rels": '<r><Relationship Type="x/officeDocument" Target="d.xml"/></r>', "d.xml": bomb},
    )
    with pytest.raises(DataError, match="declares entities"):
        text_of(path)


def test_package_that_expands_without_bound_is_refused_with_the_way_to_lift_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptsmith.data.files.FREE_EXPANSION_BYTES", 1000)
    path = docx(tmp_path / "a.docx", "<p><r><t>word</t></r></p>" * 20_000)
    with pytest.raises(DataError, match=r"expands to over .*--set data\.max_expansion"):
        text_of(path, ReadSettings(max_expansion=2))
    assert text_of(path, ReadSettings(max_expansion=1000)).count("word") == 20_000


def test_locked_book_says_so(tmp_path: Path) -> None:
    parts = {
        "META-INF/container.xml": '<c><rootfile full-path="b.opf"/></c>',
        "b.opf": '<p><item id="c" href="c.xhtml" media-type="application/xhtml+xml"/><itemref idref="c"/></p>',
        "c.xhtml": "\x01\x02",
    }
    locked = '<e><CipherReference URI="c.xhtml"/></e>'
    with pytest.raises(DataError, match="locked by its shop"):
        text_of(package(tmp_path / "a.epub", {**parts, "META-INF/encryption.xml": locked}))
