"""What a recipe comes to on the disk: a list of documents to leave out, and a copy of the sources with edited documents
in it. The copy has links to all files but those with edited documents.

Each is in a folder that is called after its content, and stays as long as a job or a run needs it (see `needed`): a run
that was made of it can be resumed whatever is changed afterwards.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError, UserError
from gptsmith.base.files import readable_bytes, sync_file, sync_folder, writing
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import temporary_folder
from gptsmith.data.cache import key_of
from gptsmith.data.care.left_out import named
from gptsmith.data.discover import Candidate, Found, discover
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents, read_records, with_plain_line_ends
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.reading import Reading
from gptsmith.serve.studio.data.recipes import Edit, Recipe, name_of

WITHOUT, TEXTS = "without.jsonl", "texts"
MADE = "made"
"""The folder of a collection that has them, one folder for each recipe."""
SETTINGS = ReadSettings()
MAX_FILE_BYTES = 200_000_000
"""Of a file with edited documents, which is read at once."""


@dataclass(frozen=True)
class Made:
    """What is read of a collection by a recipe.

    Attributes:
        source: a folder or file.
        without: a list of documents to leave out; None if none is.
        redacts: whether findings are replaced by placeholders.
    """

    source: str
    without: str | None
    redacts: bool

    def arguments(self) -> list[str]:
        """It as the words of a command line."""
        without = [] if self.without is None else ["--without", self.without]
        return [self.source, *without, *(["--redact"] if self.redacts else [])]


def made_by(collection: Collection, recipe: Recipe, reading: Reading, chosen: frozenset[Path] | None = None) -> Made:
    """What is read of a collection by a recipe; the files that this takes are written if they are not there. What has
    gone from the sources is no longer taken out of them.

    Args:
        chosen: the files that are read; None for all.

    Raises:
        UserError: a file cannot be read, or the disk is full.
    """
    without = sorted(
        name
        for name in recipe.without
        if name in reading.number_of and (chosen is None or reading.file_of(name) in chosen)
    )
    present = {name: edit for name, edit in recipe.edits.items() if name in reading.number_of}
    with writing(collection.home):
        edits = _edits_by_file(present, reading)
        if chosen is not None:
            edits = {path: edit for path, edit in edits.items() if path in chosen}
        is_copied = bool(edits) or chosen is not None
        if not without and not is_copied:
            return Made(str(collection.sources), None, recipe.redacts)
        target = collection.home / MADE / _key(without, edits, reading.found, chosen)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if not target.exists():
            with temporary_folder(target, private=True) as folder:
                lines = (json_text({"kind": "left_out", "sha256": name}) + "\n" for name in without)
                _write(folder / WITHOUT, lines)
                if is_copied:
                    _copy(collection, folder / TEXTS, edits, reading.found, chosen)
                sync_folder(folder)
                if not target.exists():  # nobody else was faster
                    folder.replace(target)
                sync_folder(target.parent)
        os.utime(target)  # it was asked for now, and is not swept meanwhile
    source = target / TEXTS if is_copied else collection.sources
    return Made(str(source), str(target / WITHOUT) if without else None, recipe.redacts)


def _edits_by_file(edits: Mapping[str, Edit], reading: Reading) -> dict[Path, dict[str, Edit]]:
    """The edits of the documents in each file. Of documents that are in several, the corpus names but one."""
    if not edits:
        return {}
    named_files = {reading.file_of(name) for name in edits}
    with_copies = {Path(file.path) for file in reading.files if file.num_duplicates}
    found: dict[Path, dict[str, Edit]] = {}
    for candidate in reading.found.candidates:
        if (path := candidate.file.path) in named_files | with_copies:
            here = {name: edits[name] for name in _names_in(candidate) if name in edits}
            found.update({path: here} if here else {})
    return found


def _names_in(candidate: Candidate) -> Iterator[str]:
    """What the documents of a file are called."""
    if candidate.reader.has_records(candidate.file, SETTINGS):
        records = read_records(candidate.reader, candidate.file, SETTINGS)
        return (name for _, name in named(candidate.file.path, records, None))
    return map(name_of, documents_in(candidate))


def _key(
    without: list[str], edits: Mapping[Path, Mapping[str, Edit]], found: Found, chosen: frozenset[Path] | None
) -> str:
    """A name that is the same for the same content."""
    files = []
    for candidate in found.candidates if edits or chosen is not None else ():
        stat = candidate.file.path.stat()
        files.append([str(candidate.file.path), stat.st_size, stat.st_mtime_ns])
    edited = {name: [edit.text, edit.record] for some in edits.values() for name, edit in some.items()}
    return key_of(without, edited, sorted(files), *([] if chosen is None else [sorted(map(str, chosen))]))


def _copy(
    collection: Collection,
    folder: Path,
    edits: Mapping[Path, Mapping[str, Edit]],
    found: Found,
    chosen: frozenset[Path] | None,
) -> None:
    """A copy of a collection's files, or of those that were chosen: links, but for those with edited documents."""
    for candidate in found.candidates:
        if chosen is not None and candidate.file.path not in chosen:
            continue
        path = relative_path(collection, candidate.file.path)
        target = folder / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if candidate.file.path not in edits:
            target.symlink_to(candidate.file.path)
            continue
        if not candidate.reader.keeps_splits:  # its copy must not become a file of a split, whatever it is called
            target = folder / f"edited-{sha256(os.fsencode(path)).hexdigest()[:16]}"
        _write_edited(candidate, target, edits[candidate.file.path])


def _write_edited(candidate: Candidate, target: Path, edits: Mapping[str, Edit]) -> None:
    """Writes the documents of a file with edited ones in their places: records as records, so that examples can be made
    of them, and each other document as a text of its own."""
    if candidate.reader.has_records(candidate.file, SETTINGS):
        _write(target.with_name(f"{target.name}.jsonl"), _edited_records(candidate, edits))
        return
    for number, text in enumerate(documents_in(candidate)):
        name = name_of(text)
        written = edits[name].text if name in edits else text
        _write(target.with_name(f"{target.name}{f'.{number}' if number else ''}.txt"), [written])


def _edited_records(candidate: Candidate, edits: Mapping[str, Edit]) -> Iterator[str]:
    records = read_records(candidate.reader, candidate.file, SETTINGS)
    for record, name in named(candidate.file.path, records, None):
        fields: Mapping[str, Any] = record.fields
        if (edit := edits.get(name)) is not None:
            fields = _edited_fields(fields, name, edit)
        yield json_text(dict(fields), default=str) + "\n"


def _edited_fields(fields: Mapping[str, Any], name: str, edit: Edit) -> Mapping[str, Any]:
    """A record as it was edited; of a copy of a document that was edited in another file, its text."""
    if edit.record is not None and edit.record.keys() == fields.keys():
        return edit.record
    return {
        field: edit.text if isinstance(value, str) and name_of(value) == name else value
        for field, value in fields.items()
    }


def _write(path: Path, texts: Iterator[str] | list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="", errors="replace") as file:
        file.writelines(texts)
    sync_file(path)


def checked_edit(collection: Collection, candidate: Candidate, document: str, edit: Edit) -> Edit:
    """An edit, with the text that will be read of it.

    Raises:
        DataError: another text would be read than the one that was given, or none.
    """
    if candidate.file.path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"its file is larger than {readable_bytes(MAX_FILE_BYTES)}: edit the file itself")
    edit = replace(edit, text=with_plain_line_ends(edit.text.encode("utf-8", "replace").decode()))
    before = Counter(documents_in(candidate))
    with writing(collection.home), temporary_folder(collection.home / TEXTS, private=True) as folder:
        _write_edited(candidate, folder / "document", {document: edit})
        try:
            after = Counter(text for one in discover([folder]).candidates for text in documents_in(one))
        except UserError as error:
            raise DataError(str(error).rpartition(str(folder))[2].partition(": ")[2] or str(error)) from None
    if after.total() < before.total() or not all(text.strip() for text in after - before):
        raise DataError("there is no text in it: exclude the document, if it is not to be read")
    (original,) = (text for text in before if name_of(text) == document)
    changed = after - before or Counter([original])
    if len(changed) > 1 or (edit.record is None and edit.text not in changed):
        raise DataError("the file would be read in another way with it, such as an exported chat: change less")
    return replace(edit, text=next(iter(changed)))


def documents_in(candidate: Candidate) -> list[str]:
    """The texts of the documents of a file, as they are read."""
    found, text = list[str](), ""
    for chunk in read_documents(candidate.reader, candidate.file, SETTINGS):
        text += chunk.text
        if chunk.last:
            found += [text] if text else []
            text = ""
    return found


def relative_path(collection: Collection, path: Path) -> Path:
    """The path of a file in its collection."""
    return Path(path.name) if path == collection.sources else path.relative_to(collection.sources)
