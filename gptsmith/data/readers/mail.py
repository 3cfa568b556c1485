"""Mail: a message (.eml) or a box of messages (.mbox). Each message is a document: its subject, and its text.

Attachments are not read. A message that is written as text and as a web page is read once, as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage, MIMEPart
from email.policy import EmailPolicy
from typing import Any, ClassVar, Literal

from gptsmith.base.files import readable_bytes
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile
from gptsmith.data.readers.html import decoded, shown_lines

# A message is parsed as a whole, in some times its size of memory; the rest of a longer one is attachments.
MAX_MESSAGE_BYTES = 64_000_000

SEPARATOR = re.compile(rb"From [^\n]*\d\d:\d\d")
HEADERS = re.compile(
    rb"(?:(?:From|To|Cc|Date|Subject|Message-ID|MIME-Version|Received|Return-Path|Delivered-To|Content-Type|"
    rb"X-[\w-]+|DKIM-Signature|Reply-To): ?[^\n]*\n(?:[ \t][^\n]*\n)*){3}",
    re.IGNORECASE,
)
MAX_PARTS = 1000
MAX_HEADER_CHARACTERS = 2000
"""Python's parser takes a time that grows with the square of a header's length."""


class BoundedPolicy(EmailPolicy):
    """Python's policy, with headers cut to the most characters that are read."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return super().header_fetch_parse(name, value[:MAX_HEADER_CHARACTERS])


class MailReader(Reader):
    kind: Literal["mail"] = "mail"
    extensions: ClassVar[tuple[str, ...]] = (".eml", ".mbox")

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        if SEPARATOR.match(head):
            return ".mbox"
        return ".eml" if HEADERS.match(head) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        for data, start, end in messages(file):
            message = message_from_bytes(data, policy=BoundedPolicy())
            assert isinstance(message, EmailMessage)
            text = text_of(message)
            if text:
                yield Chunk(text, start, end)


def messages(file: SourceFile) -> Iterator[tuple[bytes, int, int]]:
    """The messages of a file, as (bytes, start byte, end byte).

    A message ends where a line `From ...` with a time follows an empty one.
    """
    lines: list[bytes] = []
    start = position = kept = 0
    after_blank = True
    with file.open() as stream:
        while line := stream.readline(MAX_MESSAGE_BYTES):
            if after_blank and SEPARATOR.match(line) and (position == 0 or file.extension == ".mbox"):
                if lines:
                    yield b"".join(lines), start, position
                lines, start, kept = [], position, 0
            elif kept + len(line) <= MAX_MESSAGE_BYTES:
                lines.append(line[1:] if line.startswith(b">From ") else line)
                kept += len(line)
            elif kept <= MAX_MESSAGE_BYTES:
                file.remarks.append(
                    f"the message from byte {start:,} is read up to {readable_bytes(MAX_MESSAGE_BYTES)}, the most for "
                    "one message"
                )
                kept = MAX_MESSAGE_BYTES + 1
            position += len(line)
            after_blank = not line.strip()
    if lines:
        yield b"".join(lines), start, position


def text_of(message: EmailMessage) -> str:
    """The subject of a message and its text, with a blank line between them."""
    texts = [header(message, "Subject"), *bodies(message)]
    return "\n\n".join(text for text in texts if text)


def header(message: EmailMessage, name: str) -> str:
    """A line of the head, decoded; empty if it is missing or beyond reading."""
    try:
        return " ".join(str(message.get(name, "")).split())
    except (IndexError, LookupError, ValueError):
        return ""


def bodies(message: EmailMessage) -> Iterator[str]:
    """The texts of a message that are not attachments; of alternatives, the plain one."""
    parts: list[MIMEPart] = [message]
    num_parts = 0
    while parts and num_parts < MAX_PARTS:
        part = parts.pop(0)
        num_parts += 1
        if part.is_attachment():
            continue
        kind = part.get_content_type()
        if kind == "multipart/alternative":
            alternatives = list(part.iter_parts())
            plain = [one for one in alternatives if one.get_content_type() == "text/plain"]
            parts = [*(plain or alternatives[-1:]), *parts]
        elif part.is_multipart():
            inside = list(part.iter_parts())
            parts = [*(inside[:1] if kind == "multipart/related" else inside), *parts]
        elif kind == "text/html":
            yield "".join(shown_lines(decoded([raw_bytes(part)], part.get_content_charset()))).strip()
        elif kind == "text/plain":
            yield "".join(decoded([raw_bytes(part)], part.get_content_charset())).strip()


def raw_bytes(part: MIMEPart) -> bytes:
    """The bytes of a part, out of base64 or quoted-printable."""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""
