"""Encodings, byte-order marks, what is refused and where."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.data import decoding
from gptsmith.data.decoding import as_one_document, read_lines, read_text_blocks
from gptsmith.data.discover import readers_by_extension
from gptsmith.data.readers import ReadSettings, SourceFile

TEXT = "Zürich, 東京\r\nline two\n\nlast 🙂"


def blocks_of(path: Path, content: bytes, encoding: str | None = None) -> list[tuple[str, int, int]]:
    path.write_bytes(content)
    return list(read_text_blocks(SourceFile(path, path.suffix), ReadSettings(encoding=encoding)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.txt"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Odd, so that characters of two and four bytes lie across the blocks' borders.
    monkeypatch.setattr(decoding, "BLOCK_BYTES", 7)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_utf_with_its_mark_is_read_and_every_block_knows_its_bytes(file: Path, mark: bytes, encoding: str) -> None:
    content = mark + TEXT.encode(encoding)
    blocks = blocks_of(file, content)
    assert "".join(text for text, _, _ in blocks) == TEXT
    assert blocks[0][1] == len(mark)
    assert blocks[-1][2] == len(content)
    for text, start, end in blocks:
        assert content[start:end].decode(encoding) == text


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "shift_jis", "gb18030"])
def test_named_encodings_are_read(file: Path, encoding: str) -> None:
    text = "東京 is a city\n" * 3
    assert "".join(text for text, _, _ in blocks_of(file, text.encode(encoding), encoding)) == text


def test_utf16_without_a_mark_is_read_where_it_is_named(file: Path) -> None:
    assert blocks_of(file, "abc".encode("utf-16-le"), "utf-16") == [("abc", 0, 6)]


def test_a_mark_wins_over_the_named_encoding(file: Path) -> None:
    assert blocks_of(file, codecs.BOM_UTF8 + "é".encode(), "cp1252") == [("é", 3, 5)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_latin1_is_refused_with_the_place_and_the_way_out(file: Path, mark: bytes) -> None:
    content = mark + "überall ist ein Café".replace("ü", "u").encode("latin-1")
    with pytest.raises(UserError) as caught:
        blocks_of(file, content)
    assert f"{file}: byte {content.index(0xE9)} is not UTF-8 (0xe9)" in str(caught.value)
    assert "--encoding cp1252" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_character_cut_off_at_the_end_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="byte 3 is not UTF-8"):
        blocks_of(file, b"abc" + "東".encode()[:2])


def test_a_binary_file_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"a binary file \(a NUL at byte 3\)"):
        blocks_of(file, b"ELF\0rest")
    with pytest.raises(UserError, match="a binary file"):
        blocks_of(file, b"ELF\0rest", "latin-1")


@pytest.mark.parametrize("name", ["klingon", "rot13", "base64"])
def test_what_is_no_encoding_of_text_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"no such encoding: {name}"):
        ReadSettings.parse({"encoding": name}, "data")


def test_an_enormous_line_is_refused_by_its_number_and_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK_BYTES", 1000)
    short = "é\n" + "x" * 2400 + "\n"
    source = SourceFile(file, ".txt")
    file.write_bytes((short + "y" * 2600 + "\nz").encode())
    assert len("".join(text for text, _, _ in read_text_blocks(source, ReadSettings(), max_line=2600))) == 5005
    with pytest.raises(UserError, match=r"line 3 \(from byte 2404\) is longer than 2,599"):
        list(read_text_blocks(source, ReadSettings(), max_line=2599))
    assert list(read_text_blocks(source, ReadSettings(), max_line=None))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    text=st.text("ab\n\ré東🙂\u2028", max_size=60),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-32-be"]),
    block=st.integers(1, 20),
)
def test_lines_know_their_bytes(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, block: int) -> None:
    path = tmp_path_factory.mktemp("lines") / "file.txt"
    content = text.encode(encoding)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK_BYTES", block)
        lines = list(read_lines(SourceFile(path, ".txt"), ReadSettings(encoding=encoding)))
    expected = text.split("\n")
    if not expected[-1]:
        expected.pop()
    assert [line for line, _, _ in lines] == [line.removesuffix("\r") for line in expected]
    for line, start, end in lines:
        assert content[start:end].decode(encoding).removesuffix("\n").removesuffix("\r") == line
    assert [end for _, _, end in lines[:-1]] == [start for _, start, _ in lines[1:]]


def test_only_the_last_excerpt_is_the_last() -> None:
    chunks = list(as_one_document([("a", 0, 1), ("b", 1, 2), ("c", 2, 3)]))
    assert [chunk.last for chunk in chunks] == [False, False, True]
    assert not list(as_one_document([]))


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("---\ntitle: A\ntags:\n  - b\n\n---\n# A\ntext\n", "# A\ntext\n"),
        ("---\r\ntitle: A\r\n---\r\ntext", "text"),
        ("---\na thematic break\n---\ntext", "---\na thematic break\n---\ntext"),
        ("---\ntitle: never closed\n", "---\ntitle: never closed\n"),
        ("text\n---\ntitle: A\n---\n", "text\n---\ntitle: A\n---\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_front_matter_is_left_out(tmp_path: Path, content: str, kept: str, encoding: str) -> None:
    path = tmp_path / "page.md"
    path.write_bytes(content.encode(encoding))
    (chunk,) = readers_by_extension()[".md"].read(SourceFile(path, ".md"), ReadSettings())
    assert chunk.text == kept
    plain = encoding.replace("16", "16-le")
    assert path.read_bytes()[chunk.start : chunk.end].decode(plain) == kept


def test_front_matter_of_many_colons_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("---\n" + "a: b: c: d\n" * 20_000, encoding="utf-8")
    assert list(readers_by_extension()[".md"].read(SourceFile(path, ".md"), ReadSettings()))
