"""The flow of a document: paragraphs, tables, and what hangs on a paragraph, as its elements are read in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gptsmith.data.decoding import as_one_document
from gptsmith.data.readers import Chunk

CHUNK_CHARACTERS = 1_000_000


class Flow:
    """Gathers the text of a document's elements. `take` gives what is finished, each piece with its line ends.

    A paragraph inside another one, such as that of a text box or a note, follows it. Cells stand in lines of rows,
    with tabs between them; the paragraphs of a row's only cell stay paragraphs.
    """

    def __init__(self) -> None:
        self.finished: list[str] = []
        self.paragraphs: list[tuple[list[str], list[str]]] = []  # the open ones: pieces, and what follows
        self.tables: list[list[list[str]]] = []  # the open ones: the current row's cells of paragraphs
        self.has_rows = False

    def take(self) -> list[str]:
        """The pieces that were finished since the last time."""
        finished, self.finished = self.finished, []
        return finished

    def begin_paragraph(self) -> None:
        self.paragraphs.append(([], []))

    def add(self, text: str) -> None:
        """Text of the innermost open paragraph; nothing where none is open."""
        if self.paragraphs:
            self.paragraphs[-1][0].append(text)

    def has_words(self) -> bool:
        """Whether the innermost open paragraph has text."""
        return bool(self.paragraphs) and any(piece.strip() for piece in self.paragraphs[-1][0])

    def end_paragraph(self, prefix: str = "") -> None:
        """End the innermost paragraph, with the number or bullet that stands before it."""
        if not self.paragraphs:
            return
        pieces, following = self.paragraphs.pop()
        text = "".join(pieces).strip()
        texts = [prefix + text, *following] if text else following
        if self.paragraphs:
            self.paragraphs[-1][1].extend(texts)
            return
        for text in texts:
            self._deliver(text)

    def begin_table(self) -> None:
        self.tables.append([])

    def begin_cell(self) -> None:
        if self.tables:
            self.tables[-1].append([])

    def end_row(self) -> None:
        if not self.tables:
            return
        cells = self.tables[-1]
        self.tables[-1] = []
        if len(cells) == 1:
            row = "\n\n".join(cells[0])
        else:
            row = "\t".join(" ".join(cell).replace("\n", " ") for cell in cells).rstrip()
        if not row.strip():
            return
        if len(self.tables) == 1:
            self.finished.append(row + "\n")
            self.has_rows = True
        else:
            self._deliver(row, depth=-2)

    def end_table(self) -> None:
        if not self.tables:
            return
        self.end_row()
        self.tables.pop()
        if not self.tables and self.has_rows:
            self.finished.append("\n")
            self.has_rows = False

    def _deliver(self, text: str, depth: int = -1) -> None:
        if not self.tables:
            self.finished.append(text + "\n\n")
            return
        cells = self.tables[depth]
        if not cells:
            cells.append([])
        cells[-1].append(text)


def as_document(pieces: Iterable[str], num_bytes: int) -> Iterator[Chunk]:
    """The pieces as one document, in chunks of about 1 MB that were read from all `num_bytes` of a file."""
    return as_one_document((text, 0, num_bytes) for text in _grouped(pieces))


def _grouped(pieces: Iterable[str]) -> Iterator[str]:
    gathered: list[str] = []
    length = 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece)
        if length >= CHUNK_CHARACTERS:
            whole = "".join(gathered)
            text = whole.rstrip("\n")
            if text:
                yield text
            gathered = [whole[len(text) :]]
            length = 0
    text = "".join(gathered).rstrip("\n")
    if text:
        yield text
