"""Files, folders and globs to the files that are read, and to those that are not, with the reason."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from gptsmith.base.errors import DataError, UserError
from gptsmith.data.files import extension_of, seekable
from gptsmith.data.packages import names_in
from gptsmith.data.prepared_files import is_prepared, require_prepared
from gptsmith.data.readers import KINDS, Reader, SourceFile
from gptsmith.data.signatures import BY_EXTENSION, kind_of_binary
from gptsmith.store.objects import is_remote

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Candidate:
    """A file to read, with its reader."""

    file: SourceFile
    reader: Reader
    named: bool
    """Whether a person named this very file: then a problem with it is an error, not a reason to skip it."""


@dataclass
class Found:
    """The result of `discover`: files to read in the order of their names, and skipped files with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def readers_by_extension() -> dict[str, Reader]:
    """The reader of every extension that some kind reads."""
    return _by_extension(tuple(KINDS.names()))


@functools.cache
def _by_extension(kinds: tuple[str, ...]) -> dict[str, Reader]:
    readers = [KINDS.validate(name) for name in kinds]
    return {extension: reader for reader in readers for extension in reader.extensions}


def discover(sources: Iterable[str | Path]) -> Found:
    """The files that the sources stand for; a folder is searched to its depths, without what is hidden. Links to
    folders are followed, each folder once.

    Raises:
        DataError: a source does not exist, a file that was named is of no kind that is read, or there is nothing to
            read.
    """
    found = Found()
    seen: set[Path] = set()
    paths, readers = [Path(source).expanduser() for source in _texts(sources)], readers_by_extension()
    # Files named one by one come first, so that they count as named where a folder holds them too.
    for path, named in sorted(_files(paths, found.skipped), key=lambda item: not item[1]):
        real = path.resolve()
        if real in seen:
            continue
        seen.add(real)
        extension = extension_of(path)
        if not path.is_file():
            reason = "not a regular file" if path.exists() else "a link to nothing"
            if named:
                raise DataError(f"{path}: {reason}; allowed are files, folders and globs: write it to a file first")
            found.skipped[str(path)] = reason
        elif reader := readers.get(extension):
            found.candidates.append(Candidate(SourceFile(path, extension), reader, named))
        elif named:
            found.candidates.append(recognized(SourceFile(path, extension)))
        else:
            advice = BY_EXTENSION.get(extension)
            unknown = f"unknown extension {extension or '(none)'}"
            found.skipped[str(path)] = f"{unknown} ({advice})" if advice else unknown
    if not found.candidates:
        given = ", ".join(map(str, paths)) or "no source"
        raise DataError(f"{given}: nothing to read; {_allowed()}: name a file or a folder that has some")
    return found


def _texts(sources: Iterable[str | Path]) -> Iterator[str | Path]:
    """Sources, none of which is a prepared text."""
    for source in sources:
        if is_remote(source):
            require_prepared(str(source))
        if is_prepared(source):
            raise DataError(f"{source} is a prepared text, which pretrain and plan take: name the text itself here")
        yield source


def require_apart(written: str | Path, sources: Iterable[str | Path]) -> None:
    """Checks that a file to write is none of those that the sources stand for, and will not be read as one of them.

    Raises:
        DataError: a source does not exist.
        UserError: it is one, or would be.
    """
    path, paths = Path(written).expanduser().resolve(), [Path(source).expanduser() for source in sources]
    if any(file.resolve() == path for file, _ in _files(paths, {})):
        raise UserError(f"{written} is one of the texts that are read, and would be overwritten: choose another name")
    for folder in paths:
        if folder.is_dir() and path.is_relative_to(folder.resolve()) and extension_of(path) in readers_by_extension():
            outside = os.path.relpath(folder.resolve().parent / path.name)
            raise UserError(
                f"{written} lies in {folder}, and would be read as one of its texts from now on: write it elsewhere, "
                f"such as {outside}"
            )


def recognized(file: SourceFile) -> Candidate:
    """A file that a person named, of an unknown extension, with the reader that its content is for: plain text where
    nothing speaks against it.

    Raises:
        DataError: it is of a kind that no reader knows.
    """
    with file.open() as stream:
        head = stream.read(HEAD_BYTES)
    members = frozenset[str]()
    if head.startswith(b"PK"):
        with seekable(file.open()) as stream:
            members = names_in(stream)
    for reader in dict.fromkeys(readers_by_extension().values()):
        if extension := reader.recognizes(head, members):
            return Candidate(replace(file, extension=extension), reader, named=True)
    if words := kind_of_binary(head):
        raise DataError(f"{file.path}: {words}")
    return Candidate(file, readers_by_extension()[".txt"], named=True)


def _files(sources: list[Path], skipped: dict[str, str]) -> Iterator[tuple[Path, bool]]:
    for source in sources:
        if source.is_dir():
            yield from ((path, False) for path in _inside(source, skipped))
        elif source.exists() or not glob.has_magic(str(source)):
            if not source.exists():
                raise DataError(f"{source}: no such file or folder: check the spelling")
            yield source, True
        else:
            matches = sorted(Path(name) for name in glob.glob(str(source), recursive=True))  # noqa: PTH207
            if not matches:
                raise DataError(f"{source}: no file matches: check the pattern")
            for match in matches:
                inside = _inside(match, skipped) if match.is_dir() else [match]
                yield from ((path, False) for path in inside)


def _inside(folder: Path, skipped: dict[str, str]) -> Iterator[Path]:
    """The files of a folder and its folders by name, without hidden ones."""

    def skip(error: OSError) -> None:
        skipped[str(error.filename)] = f"cannot be read: {error.strerror}"

    seen: set[tuple[int, int]] = set()
    for where, folders, files in os.walk(folder, onerror=skip, followlinks=True):
        identity = os.stat(where)  # noqa: PTH116
        if (identity.st_dev, identity.st_ino) in seen:
            # A link that leads up would never end.
            folders.clear()
            skipped[where] = "a link to a folder that is read already"
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where) / name for name in sorted(files) if not name.startswith("."))


def _allowed() -> str:
    return f"supported formats: {' '.join(sorted(readers_by_extension()))}"
