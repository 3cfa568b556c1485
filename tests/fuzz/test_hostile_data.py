"""Texts that somebody sends, in every format: reading a mutated one ends well or with one short line.

`make fuzz CASES=2000` tries more.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gptsmith.data.discover import discover
from gptsmith.data.examples import read_examples, read_shape, records
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from tests.fuzz.bounds import CASES, one_line_or_well
from tests.fuzz.documents import write_documents
from tests.fuzz.mutations import mutated

NAMES = (
    "a.txt", "a.md", "a.csv", "a.json", "a.jsonl", "a.html", "a.ipynb", "a.srt", "a.tex", "a.rtf", "a.eml", "a.mbox",
    "a.docx", "a.pdf", "a.parquet", "a.jsonl.gz", "a.txt.zst", "a.docx.gz", "a.parquet.zst", "text.docx", "text.odt",
    "sheet.xlsx", "sheet.ods", "slides.pptx", "text.epub",
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every format."""
    folder = tmp_path_factory.mktemp("sound")
    write_documents(folder)
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    return folder


def documents(file: Path) -> int:
    """The number of characters in the documents of a file."""
    candidates = discover([file]).candidates
    return sum(len(chunk.text) for one in candidates for chunk in read_documents(one.reader, one.file, ReadSettings()))


def read_data(file: Path) -> None:
    """Read a file as text, as records and as examples."""
    for read in (documents, lambda file: list(records([file])), lambda file: read_examples([file], read_shape([file]))):
        one_line_or_well(lambda read=read: read(file))  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_the_sound_ones_have_text(sound: Path, name: str) -> None:
    assert documents(sound / name) > 20


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_file_ends_well_or_with_one_line(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    for case in range(CASES):
        file.write_bytes(mutated(sound / name, random.Random(f"{name} {case}")))
        try:
            read_data(file)
        except BaseException as error:
            raise AssertionError(f"case {case} of {name}: {type(error).__name__}") from error
