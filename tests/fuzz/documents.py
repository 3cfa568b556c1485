"""Small sound files of every family of formats that is read as text, made here or beside the tests of their readers."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import zlib
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

OFFICE = Path(__file__).parents[1] / "data" / "readers" / "office"
TEXT = "The old smith forges a nail of iron. The young smith bends a plough of steel.\n\n" * 4
ROW = {"question": "Who forges?", "answer": "The old smith."}
CONVERSATION = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "He."}]}
CONVERSATIONS = "".join(json.dumps(CONVERSATION) + "\n" for _ in range(4))
ENCODED = base64.b64encode(f"<html><body><p>{TEXT}</p></body></html>".encode()).decode()
MAIL = (
    "From: a@b.c\nTo: d@e.f\nSubject: =?utf-8?q?N=C3=A4gel?=\nMIME-Version: 1.0\n"
    'Content-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: multipart/alternative; boundary="y"\n\n'
    f'--y\nContent-Type: text/plain; charset="iso-8859-1"\nContent-Transfer-Encoding: quoted-printable\n\n{TEXT}=E4\n'
    f"--y\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n{ENCODED}\n--y--\n"
    '--x\nContent-Type: text/plain\nContent-Disposition: attachment; filename="a.txt"\n\nno\n--x--\n'
)
TEXTS = {
    "a.txt": TEXT,
    "a.md": f"# Smiths\n\n{TEXT}",
    "a.csv": "text,label\nA nail of iron.,nail\nA plough of steel.,plough\n" * 3,
    "a.json": json.dumps([ROW] * 4),
    "a.jsonl": CONVERSATIONS,
    "a.html": f"<html><head><title>Smiths</title></head><body><p>{TEXT}</p></body></html>",
    "a.ipynb": json.dumps({"cells": [{"cell_type": kind, "source": [TEXT]} for kind in ("markdown", "code", "raw")],
                           "nbformat": 4, "metadata": {"kernelspec": {"language": "python"}}}),
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\nThe old smith.\n\n" * 3,
    "a.tex": "\\documentclass{article}\\begin{document}" + TEXT + "\\end{document}",
    "a.rtf": "{\\rtf1\\ansi The old smith forges \\b a nail\\b0 .\\par}",
    "a.eml": MAIL,
    "a.mbox": "".join(f"From a@b.c Sat Nov 28 03:00:00 2026\n{MAIL}\n" for _ in range(2)),
}  # fmt: skip
MADE_BY_LIBREOFFICE = ("text.docx", "text.odt", "sheet.xlsx", "sheet.ods", "slides.pptx", "text.epub")


def write_documents(folder: Path) -> None:
    """Write a file of every family into a folder."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in MADE_BY_LIBREOFFICE:
        shutil.copy(OFFICE / name, folder / name)
    (folder / "a.docx").write_bytes(docx())
    (folder / "a.pdf").write_bytes(pdf())
    (folder / "a.parquet").write_bytes(parquet())
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(CONVERSATIONS.encode()))
    (folder / "a.txt.zst").write_bytes(zstandard(TEXT.encode()))
    (folder / "a.docx.gz").write_bytes(gzip.compress(docx()))
    (folder / "a.parquet.zst").write_bytes(zstandard(parquet()))


def docx() -> bytes:
    """A Word file with a list, a table and a note."""
    parts = {
        "_rels/.rels": '<r><Relationship Type="http://x/officeDocument" Target="word/document.xml"/></r>',
        "word/_rels/document.xml.rels": "<r>" + "".join(
            f'<Relationship Id="{name}" Target="{name}.xml"/>' for name in ("numbering", "styles", "footnotes")
        ) + "</r>",
        "word/document.xml": '<document xmlns:w="w"><body>'
        + '<p><pPr><pStyle w:val="a"/><numPr><ilvl w:val="0"/><numId w:val="1"/></numPr></pPr><r><t>A nail</t></r></p>'
        + "<tbl><tr><tc><p><r><t>of</t></r></p></tc><tc><p><r><t>iron</t></r></p></tc></tr></tbl></body></document>",
        "word/numbering.xml": '<n><abstractNum w="" abstractNumId="0"><lvl ilvl="0"><start val="1"/>'
        '<numFmt val="upperRoman"/><lvlText val="%1."/></lvl></abstractNum>'
        '<num numId="1"><abstractNumId val="0"/></num></n>',
        "word/styles.xml": '<s><style styleId="a"><numPr><ilvl val="0"/><numId val="1"/></numPr></style></s>',
        "word/footnotes.xml": "<f><footnote><p><r><t>A note</t></r></p></footnote></f>",
    }  # fmt: skip
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return file.getvalue()


def pdf() -> bytes:
    """Two pages, one of them packed."""
    plain = b"BT /F1 12 Tf 72 700 Td (The old smith forges a nail.) Tj 0 -14 Td (The young one bends.) Tj ET"
    packed = zlib.compress(
        b"BT /F1 12 Tf 72 500 Td (Steel is for a plough,) Tj 0 -14 Td (and the plough for a field.) Tj ET"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R 5 0 R]/Count 2/MediaBox[0 0 612 792]/Resources<</Font<</F1 7 0 R>>>>>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(plain), plain),
        b"<</Type/Page/Parent 2 0 R/Contents 6 0 R>>",
        b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(packed), packed),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        starts.append(len(content))
        content += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (len(objects) + 1, table, trailer)


def parquet() -> bytes:
    """Rows in two groups: texts, labels, conversations."""
    import pyarrow
    from pyarrow.parquet import write_table

    columns = {"text": ["A nail of iron.", "A plough of steel."] * 3, "label": ["nail", "plough"] * 3}
    table = pyarrow.table({**columns, "messages": [CONVERSATION["messages"]] * 6, "number": [1, 2, None] * 2})
    file = BytesIO()
    write_table(table, file, row_group_size=4, compression="zstd")
    return file.getvalue()


def zstandard(content: bytes) -> bytes:
    """A Zstandard stream."""
    from zstandard import ZstdCompressor

    return ZstdCompressor().compress(content)
