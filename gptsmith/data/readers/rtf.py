"""Rich Text Format: the paragraphs of a letter or a book. Each file is a document.

Notes follow the paragraph that they hang on; headers, footers, comments and pictures are not read.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.flow import Flow, as_document
from gptsmith.data.numbering import BULLET
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile, size_of_file

BLOCK_BYTES = 1 << 16

# A control word with its number and the space that ends it, a byte in hexadecimal, a control sign, a brace, or text.
TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)|(\\)",
    re.DOTALL,
)
# The longest of them but text, which can be cut anywhere.
LONGEST_TOKEN_BYTES = 64

# Groups whose words are not the text's.
UNREAD_GROUPS = """
annotation atnauthor atnid atnref atntime bkmkend bkmkstart colortbl comment company creatim doccomm datafield fldinst
filetbl fonttbl footer footerf footerl footerr ftncn ftnsep ftnsepc generator header headerf headerl headerr info
keywords listtable listoverridetable objdata object operator pict private rsidtbl sp stylesheet template themedata
title subject author tc xe latentstyles mmathPr
"""
UNREAD = frozenset(UNREAD_GROUPS.split())
READ_THOUGH_STARRED = frozenset({"footnote", "shpinst", "shptxt"})
SIGNS = {
    "line": "\n", "tab": "\t", "emdash": "\u2014", "endash": "\u2013",
    "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d", "bullet": "\u2022",
    "emspace": "\u2003", "enspace": "\u2002",
}  # fmt: skip
LIST_MARKS = ("listtext", "pntext")
BREAKS = ("par", "sect", "page")
CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 134: "gbk", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250",
}  # fmt: skip
MAX_GROUPS = 10_000


class RtfReader(Reader):
    kind: Literal["rtf"] = "rtf"
    extensions: ClassVar[tuple[str, ...]] = (".rtf",)

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".rtf" if head.startswith(b"{\\rtf") else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with file.open() as stream:
            if not stream.read(5).startswith(b"{\\rtf"):
                raise DataError(f"{file.path} is not an .rtf file: open it in a word processor and save it as .rtf")
        yield from as_document(Text(file).pieces(), size_of_file(file))


@dataclass(frozen=True)
class State:
    """What holds until the group ends."""

    unread: bool = False
    encoding: str = "cp1252"
    """The encoding of the bytes in hexadecimal."""

    skipped_after_unicode: int = 1
    """The characters after a Unicode one that stand for it in old programs."""

    is_note: bool = False
    in_list_mark: bool = False
    """Whether the text is the number or bullet before an item of a list."""
    in_fonts: bool = False
    hidden: bool = False


class Text:
    """Reads the tokens of a file and gathers its text."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.flow = Flow()
        self.state = State()
        self.groups: list[State] = []
        self.starred = False
        self.to_skip = 0
        self.bytes = bytearray()
        """Bytes in hexadecimal that wait for the second half of their character."""

        self.in_row = self.after_row = False
        self.fonts: dict[int, str] = {}
        self.font = 0
        self.default_encoding = "cp1252"
        self.high = 0
        """The first half of a surrogate pair."""
        self.list_mark = ""
        """The number or bullet before an item, as far as it was read."""

    def pieces(self) -> Iterator[str]:
        """The paragraphs and rows, in pieces that end in line ends."""
        self.flow.begin_paragraph()
        for token in tokens(self.file):
            self.take(token)
            yield from self.flow.take()
        self.end_bytes()
        while self.flow.paragraphs:
            self.flow.end_paragraph()
        yield from self.flow.take()

    def take(self, token: re.Match) -> None:
        word, number, byte, sign, brace, text, _ = token.groups()
        if byte is None:
            self.end_bytes()
        if brace == b"{":
            if len(self.groups) >= MAX_GROUPS:
                raise DataError(f"{self.file.path} nests its groups over {MAX_GROUPS:,} deep: save it anew")
            self.groups.append(self.state)
            self.to_skip = 0
        elif brace == b"}":
            self.end_group()
        elif word is not None:
            self.control(word.decode("ascii"), int(number) if number else None)
        elif byte is not None:
            if not self.skips(1):
                self.bytes.append(int(byte, 16))
        elif sign is not None:
            self.sign(sign)
        elif text is not None:
            self.add(text.decode(self.state.encoding, "replace"))

    def skips(self, count: int) -> bool:
        """Whether the next character stands for a Unicode one that was read already."""
        if self.to_skip:
            self.to_skip -= count
            return True
        return False

    def end_group(self) -> None:
        before, self.state = self.state, self.groups.pop() if self.groups else State()
        self.to_skip = 0
        if before.is_note and not self.state.is_note:
            self.flow.end_paragraph()
        if before.in_list_mark and not self.state.in_list_mark:
            mark, self.list_mark = self.list_mark.strip(), ""
            self.add(f"{mark} " if any(map(str.isalnum, mark)) else BULLET, skip=False)

    def sign(self, sign: bytes) -> None:
        if sign == b"*":
            self.starred = True
        elif sign in (b"\r", b"\n"):
            self.control("par", None)
        elif not self.skips(1):
            self.add({b"~": "\u00a0", b"_": "\u2011", b"-": ""}.get(sign, sign.decode("latin-1")))

    def control(self, word: str, number: int | None) -> None:
        """Take a control word."""
        starred, self.starred = self.starred, False
        state = self.state
        if word in UNREAD or (starred and word not in READ_THOUGH_STARRED):
            self.state = replace(state, unread=True, in_fonts=word == "fonttbl" or state.in_fonts)
        elif word in ("footnote", "shptxt") and not state.is_note and not state.unread:
            self.state = replace(state, is_note=True)
            self.flow.begin_paragraph()
        elif word in LIST_MARKS:
            self.state = replace(state, in_list_mark=True)
        elif word in ("v", "deleted"):
            self.state = replace(state, hidden=number != 0)
        elif word == "plain":
            self.state = replace(state, hidden=False)
        elif word == "bin":
            pass  # `tokens` leaves its bytes out
        elif word == "ansicpg" and number:
            self.default_encoding = codec_of(f"cp{number}", "cp1252")
            self.state = replace(state, encoding=self.default_encoding)
        elif word in ("mac", "pc", "pca"):
            self.default_encoding = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
            self.state = replace(state, encoding=self.default_encoding)
        elif word == "f" and number is not None:
            self.font = number
            if not state.in_fonts:
                self.state = replace(state, encoding=self.fonts.get(number, self.default_encoding))
        elif word == "fcharset" and state.in_fonts and number is not None and number != 1:
            self.fonts[self.font] = CHARSETS.get(number, self.default_encoding) if number else self.default_encoding
        elif word == "uc" and number is not None:
            self.state = replace(state, skipped_after_unicode=max(0, min(number, 100)))
        elif word == "u" and number is not None:
            self.unicode(number & 0xFFFF)
            self.to_skip = state.skipped_after_unicode
        else:
            self.structure(word)

    def structure(self, word: str) -> None:
        """Take a control word that ends or begins a part of the text."""
        if self.state.unread:
            return
        if word in BREAKS and self.in_row:
            self.add(" ")
        elif word in BREAKS:
            self.flow.end_paragraph()
            self.flow.begin_paragraph()
        elif word == "trowd":
            self.in_row, self.after_row = True, False
        elif word in ("cell", "nestcell"):
            self.add("\t")
        elif word in ("row", "nestrow"):
            self.add("\n")
            self.in_row, self.after_row = word == "nestrow", word == "row"
        elif word in SIGNS:
            self.add(SIGNS[word])

    def unicode(self, unit: int) -> None:
        """Take a UTF-16 unit."""
        if 0xD800 <= unit < 0xDC00:
            self.high = unit
            return
        if 0xDC00 <= unit < 0xE000:
            character = chr(0x10000 + ((self.high - 0xD800) << 10) + unit - 0xDC00) if self.high else "\ufffd"
        else:
            character = chr(unit)
        self.high = 0
        self.add(character, skip=False)

    def add(self, text: str, skip: bool = True) -> None:
        if skip and self.to_skip:
            skipped, self.to_skip = min(self.to_skip, len(text)), max(0, self.to_skip - len(text))
            text = text[skipped:]
        if self.state.unread or self.state.hidden or not text:
            return
        if self.state.in_list_mark:
            self.list_mark += text
            return
        if self.after_row:
            # The rows of a table are lines of a paragraph, which ends with the table.
            self.after_row = False
            self.flow.end_paragraph()
            self.flow.begin_paragraph()
        self.flow.add(text)

    def end_bytes(self) -> None:
        if self.bytes:
            text = self.bytes.decode(self.state.encoding, "replace")
            self.bytes.clear()
            self.add(text, skip=False)


def codec_of(name: str, default: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return default


def tokens(file: SourceFile) -> Iterator[re.Match]:
    """The tokens of a file; the bytes of `bin` are left out."""
    with file.open() as stream:
        data = b""
        last = False
        while not last:
            block = stream.read(BLOCK_BYTES)
            last = not block
            data += block
            position = 0
            while position < len(data) and (last or len(data) - position > LONGEST_TOKEN_BYTES):
                token = TOKEN.match(data, position)
                if token is None:
                    position += 1
                    continue
                yield token
                position = token.end()
                if token[1] == b"bin" and token[2]:
                    left = max(0, int(token[2])) - (len(data) - position)
                    position = min(len(data), position + max(0, int(token[2])))
                    while left > 0 and (skipped := stream.read(min(left, BLOCK_BYTES))):
                        left -= len(skipped)
            data = data[position:]
