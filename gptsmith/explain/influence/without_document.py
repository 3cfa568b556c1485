"""The sources of a run without one document: a whole file, a line of one, or some bytes of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import writing
from gptsmith.data.discover import discover
from gptsmith.data.files import COMPRESSIONS

PART = re.compile(r"(?P<file>.+?):(?:(?P<line>\d+)|(?P<start>\d+)-(?P<stop>\d+))")


@dataclass(frozen=True)
class Document:
    """What is left out.

    Attributes:
        file: a file, or the end of its path.
        line: the line that is left out of it, from 1; None for the bytes, or for the whole file.
        span: the bytes, from the first to the one after the last; None as above.
    """

    file: str
    line: int | None = None
    span: tuple[int, int] | None = None

    @classmethod
    def parse(cls, given: str) -> Document:
        """A document as a person writes it: `FILE`, `FILE:LINE` or `FILE:START-STOP`."""
        part = PART.fullmatch(given)
        if part is None or Path(given).exists():
            return cls(given)
        if part["line"] is not None:
            return cls(part["file"], line=int(part["line"]))
        return cls(part["file"], span=(int(part["start"]), int(part["stop"])))

    def without(self, sources: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
        """The files of some sources, and the same ones without this document.

        Args:
            folder: where a file is written that lacks a part of another.

        Raises:
            UserError: it is in none of the files, or is all that there is.
        """
        readers = {candidate.file.path: candidate.reader for candidate in discover(sources).candidates}
        files = list(readers)
        found = [path for path in files if path.resolve() == Path(self.file).expanduser().resolve()]
        found = found or [path for path in files if path.as_posix().endswith(f"/{self.file}")]
        if len(found) != 1:
            problem = "is none of the files that the run learnt from" if not found else "is the end of several paths"
            names = ", ".join(map(str, (found or files)[:3]))
            raise UserError(f"{self.file} {problem} (such as {names}): give the path of one")
        left = [path for path in files if path != found[0]]
        if self.line is not None or self.span is not None:
            if readers[found[0]].is_packed or found[0].suffix.lower() in COMPRESSIONS:
                raise UserError(f"{found[0]} is packed, so that no part of it can be left out: name the file alone")
            left.append(self._cut(found[0], folder))
        if not left:
            raise UserError(f"{self.file} is all that the run learnt from: leave out a line of it, by {self.file}:LINE")
        return [*map(str, files)], [*map(str, left)]

    def _cut(self, path: Path, folder: Path) -> Path:
        """A copy of a file that lacks the line or the bytes."""
        content = path.read_bytes()
        start, stop = self.span if self.span is not None else _line_span(content, self.line or 0)
        if not 0 <= start < stop <= len(content):
            what = f"line {self.line}" if self.line is not None else f"bytes {start} to {stop}"
            raise UserError(f"{path} has no {what}: look at what trace says of it")
        target = folder / path.name
        with writing(target):
            target.write_bytes(content[:start] + content[stop:])
        return target


def _line_span(content: bytes, line: int) -> tuple[int, int]:
    """The bytes of a line with its end, which is \\n as where a passage is found; none if there is no such line."""
    lines = content.split(b"\n")
    if not 0 < line <= len(lines):
        return 0, 0
    start = sum(len(each) + 1 for each in lines[: line - 1])
    return start, min(len(content), start + len(lines[line - 1]) + 1)
