"""The parts of a collection by what a model learns from them: texts, questions with answers, chats, other examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.notices import notice_of
from gptsmith.data.discover import Candidate, discover
from gptsmith.data.examples import ExampleReading, named_records, records, shape_of
from gptsmith.data.readers import ReadSettings
from gptsmith.data.shapes import TEXT

ALL, QUESTIONS, CHATS = "all", "questions", "chats"
CONVERSATIONS = "conversations"
"""Questions and chats together, which are examples of one shape."""
TURNS = ("messages", "conversations", "conversation")
MAX_COUNTED_BYTES = 20_000_000
"""Of records of one part: those of more are counted in the first files only."""
MAX_KEPT = 50


@dataclass(frozen=True)
class Part:
    """The files of a collection from which the same is learnt.

    Attributes:
        kind: `text`, `questions`, `chats`, or the shape of other examples.
        num_documents: its records, or its files if it is running text.
    """

    kind: str
    files: frozenset[Path]
    num_bytes: int
    num_documents: int

    def row(self) -> dict[str, Any]:
        """It for the page."""
        return {"kind": self.kind, "num_bytes": self.num_bytes, "num_documents": self.num_documents}


@lru_cache(maxsize=MAX_KEPT)
def parts_of(sources: Path, stamp: str) -> tuple[Part, ...]:
    """The parts of some files, texts first; none where nothing can be read.

    Args:
        stamp: the same as long as no file has changed.
    """
    by_kind: dict[str, list[Path]] = {}
    try:
        candidates = discover([sources]).candidates
    except UserError:
        return ()
    for candidate in candidates:
        by_kind.setdefault(_kind(candidate), []).append(candidate.file.path)
    order = sorted(by_kind, key=lambda kind: (kind != TEXT, kind not in (QUESTIONS, CHATS), kind))
    return tuple(_part(kind, by_kind[kind]) for kind in order)


def used_part(parts: Sequence[Part], wanted: str | None, *, tunes: bool) -> str:
    """The part that is learnt from: the wanted one; else everything for a new model, and for one that is tuned its
    conversations, or else the examples of which there are most.

    Raises:
        UserError: the wanted one is not there.
    """
    kinds = [part.kind for part in parts]
    if wanted is not None:
        if wanted not in (*kinds, ALL) and not (wanted == CONVERSATIONS and {QUESTIONS, CHATS} <= {*kinds}):
            raise UserError(f"there is no part {wanted!r} in these files (there are: {', '.join([*kinds, ALL])})")
        return wanted
    if not tunes or len(parts) < 2:
        return ALL
    if {QUESTIONS, CHATS} <= {*kinds}:
        return CONVERSATIONS
    spoken = [kind for kind in kinds if kind in (QUESTIONS, CHATS)]
    others = sorted((part for part in parts if part.kind != TEXT), key=lambda part: -part.num_documents)
    return spoken[0] if spoken else others[0].kind


def files_of(parts: Iterable[Part], kind: str) -> frozenset[Path]:
    """The files of a part."""
    kinds = (QUESTIONS, CHATS) if kind == CONVERSATIONS else (kind,)
    return frozenset().union(*(part.files for part in parts if part.kind in kinds))


def _kind(candidate: Candidate) -> str:
    """What is learnt from a file, by its first record."""
    if not candidate.reader.has_records(candidate.file, ReadSettings()):
        return TEXT
    try:
        named = named_records([candidate.file.path], ExampleReading())
        first = next((one for one in named if one.problem is None), None)
    except UserError as error:  # of which a person has to say more, before examples can be made of it
        return CHATS if (notice_of(error) or {}).get("code") == "chat_of_people" else TEXT
    shape = None if first is None else shape_of(first.fields)
    if first is not None and shape == "chat":
        return CHATS if any(name in first.fields for name in TURNS) else QUESTIONS
    return shape or TEXT


def _part(kind: str, files: Sequence[Path]) -> Part:
    sizes = {path: path.stat().st_size for path in files}
    num_bytes = sum(sizes.values())
    if kind == TEXT:
        return Part(kind, frozenset(files), num_bytes, len(files))
    counted, left = list[Path](), MAX_COUNTED_BYTES
    for path, size in sizes.items():
        counted += [path] if left > 0 else []
        left -= size
    share = sum(sizes[path] for path in counted) / max(num_bytes, 1)
    num_records = sum(1 for _ in records(counted))
    return Part(kind, frozenset(files), num_bytes, round(num_records / share) if share else 0)
