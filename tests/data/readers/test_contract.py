"""The contract of every kind of reader, on a tiny file of each of its kinds."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.data.readers import KINDS, Chunk, ReadSettings, Record, SourceFile

WORDS = "The quick brown fox jumps over the lazy dog."


# Without the table of its objects, which readers of PDF files make themselves where it is missing.
TINY_PDF = f"""%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 500 200] /Contents 4 0 R
           /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >> endobj
4 0 obj << /Length {len(WORDS) + 33} >> stream
BT /F1 12 Tf 20 100 Td ({WORDS}) Tj ET
endstream endobj
trailer << /Root 1 0 R >>
"""


def write_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": [WORDS, WORDS]}), path)


def write_package(parts: dict[str, str]) -> Callable[[Path], object]:
    """Writes a zip archive of parts."""

    def write(path: Path) -> None:
        with ZipFile(path, "w") as package:
            for name, content in parts.items():
                package.writestr(name, content)

    return write


def office_package(main: str, content: str, related: dict[str, str] | None = None) -> Callable[[Path], object]:
    """Writes an Office file whose main part has this content; `related` are parts by their ids."""
    folder, _, name = main.rpartition("/")
    related = related or {}
    relations = "".join(f'<Relationship Id="{id_}" Target="{id_}.xml"/>' for id_ in related)
    return write_package(
        {
            "_rels/.rels": f'<r><Relationship Type="http://x/officeDocument" Target="{main}"/></r>',
            main: content,
            f"{folder}/_rels/{name}.rels": f"<r>{relations}</r>",
            **{f"{folder}/{id_}.xml": part for id_, part in related.items()},
        }
    )


def writer(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode())


WRITERS: dict[str, Callable[[Path], object]] = {
    "csv": writer(f"text\n{WORDS}\n{WORDS}\n"),
    "docx": office_package("word/document.xml", f"<document><p><r><t>{WORDS}</t></r></p></document>"),
    "epub": write_package(
        {
            "META-INF/container.xml": '<container><rootfile full-path="b/book.opf"/></container>',
            "b/book.opf": '<package><item id="c" href="c.xhtml" media-type="application/xhtml+xml"/>'
            '<itemref idref="c"/></package>',
            "b/c.xhtml": f"<html><body><p>{WORDS}</p></body></html>",
        }
    ),
    "ipynb": writer(f'{{"cells": [{{"cell_type": "markdown", "source": ["{WORDS}"]}}]}}'),
    "mail": writer(f"Subject: news\n\n{WORDS}\n"),
    "odt": write_package(
        {"content.xml": f"<document-content><body><text><p>{WORDS}</p></text></body></document-content>"}
    ),
    "pptx": office_package(
        "ppt/presentation.xml",
        '<presentation><sldId id="s1"/></presentation>',
        {"s1": f"<sld><sp><p><r><t>{WORDS}</t></r></p></sp></sld>"},
    ),
    "rtf": writer(f"{{\\rtf1\\ansi {WORDS}\\par}}"),
    "srt": writer(f"1\n00:00:01,000 --> 00:00:02,000\n{WORDS}\n"),
    "xlsx": office_package(
        "xl/workbook.xml",
        '<workbook><sheet name="one" id="s1"/></workbook>',
        {
            "s1": "<worksheet><row><c t='inlineStr'><is><t>text</t></is></c></row>"
            + f"<row><c t='inlineStr'><is><t>{WORDS}</t></is></c></row>" * 2
            + "</worksheet>"
        },
    ),
    "html": writer(f"<html><body><p>{WORDS}</p></body></html>"),
    "jsonl": writer(f'{{"text": "{WORDS}"}}\n{{"text": "{WORDS}"}}\n'),
    "parquet": write_parquet,
    "pdf": writer(TINY_PDF),
}
PLAIN = writer(WORDS + "\n")
LIBRARIES = {
    "html": ("trafilatura", "trafilatura"),
    "parquet": ("pyarrow.parquet", "pyarrow"),
    "pdf": ("pypdfium2", "pypdfium2"),
}

EXTENSIONS = [(kind, extension) for kind in KINDS.names() for extension in KINDS.settings(kind).extensions]
each_extension = pytest.mark.parametrize(("kind", "extension"), EXTENSIONS)


def read(kind: str, path: Path, extension: str | None = None, settings: ReadSettings | None = None) -> list[Chunk]:
    reader = KINDS.validate(kind)
    file = SourceFile(path, extension or path.suffix)
    return list(reader.read(file, settings or ReadSettings()))


def test_extensions_are_of_one_kind_and_in_lower_case() -> None:
    extensions = [extension for _, extension in EXTENSIONS]
    assert len(set(extensions)) == len(extensions)
    assert all(extension.startswith(".") and extension == extension.lower() for extension in extensions)


@each_extension
def test_tiny_file_is_read(kind: str, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"tiny{extension}"
    WRITERS.get(kind, PLAIN)(path)
    chunks = read(kind, path)

    assert chunks
    assert chunks[-1].last
    assert all(WORDS in chunk.text for chunk in chunks)
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(starts)
    assert all(0 <= chunk.start <= chunk.end <= path.stat().st_size for chunk in chunks)


@each_extension
def test_no_part_can_be_taken_out_of_what_is_packed(kind: str, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"tiny{extension}"
    WRITERS.get(kind, PLAIN)(path)
    assert KINDS.settings(kind).is_packed == path.read_bytes().startswith((b"PK", b"PAR1", b"%PDF"))


@each_extension
def test_records_are_read_where_the_format_holds_them(kind: str, extension: str, tmp_path: Path) -> None:
    reader, path = KINDS.validate(kind), tmp_path / f"tiny{extension}"
    WRITERS.get(kind, PLAIN)(path)
    if not reader.holds_records:
        with pytest.raises(NotImplementedError, match="hold no records"):
            next(reader.records(SourceFile(path, extension), ReadSettings()))
        return
    records = list(reader.records(SourceFile(path, extension), ReadSettings()))
    assert records
    assert all(isinstance(record, Record) and record.fields["text"] == WORDS for record in records)
    assert all(0 <= record.start <= record.end <= path.stat().st_size for record in records)


@each_extension
def test_compressed_file_is_the_same(kind: str, extension: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / f"tiny{extension}", tmp_path / f"tiny{extension}.gz"
    WRITERS.get(kind, PLAIN)(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(kind, packed, extension) == read(kind, plain)


@each_extension
def test_damaged_compression_is_a_user_error(kind: str, extension: str, tmp_path: Path) -> None:
    plain, packed = tmp_path / f"tiny{extension}", tmp_path / f"tiny{extension}.gz"
    WRITERS.get(kind, PLAIN)(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-12])
    with pytest.raises(UserError, match=packed.name):
        read(kind, packed, extension)


@pytest.mark.parametrize("kind", sorted(LIBRARIES))
def test_a_missing_library_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"tiny.{kind}"
    WRITERS[kind](path)
    module, package = LIBRARIES[kind]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"pip install {package}$") as caught:
        read(kind, path)
    assert str(path) in str(caught.value)


PACKAGES = ["docx", "epub", "odt", "pptx", "xlsx"]


@pytest.mark.parametrize("kind", [*PACKAGES, "parquet", "pdf"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 cut"], ids=["empty", "text", "zip"])
def test_damaged_file_is_a_user_error(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{kind}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name) as caught:
        read(kind, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*PACKAGES, "parquet"])
def test_file_cut_in_half_is_a_user_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"half.{kind}"
    WRITERS[kind](path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=path.name):
        read(kind, path)
