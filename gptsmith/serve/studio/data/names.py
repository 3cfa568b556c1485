"""Names that come from outside: of collections, and of files where an upload puts them."""

from __future__ import annotations

import os
import re
import unicodedata
from hashlib import sha256
from pathlib import Path, PurePosixPath

from gptsmith.base.errors import UserError, shown

MAX_NAME_CHARACTERS = 100
MAX_PARTS, MAX_PART_BYTES, MAX_PATH_BYTES = 32, 200, 1500
UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
"""What some file system does not take, and signs that make text run the other way, so that a name shows as another."""
RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(\..*)?", re.IGNORECASE
)
"""Devices of Windows, which no file there can be called after."""
ENDING = re.compile(r"(\.[A-Za-z0-9]{1,12}){1,2}$")


def collection_name(given: str) -> str:
    """The name of a collection, as it is kept.

    Raises:
        UserError: it is empty, too long, or has signs in it that cannot be seen.
    """
    name = " ".join(unicodedata.normalize("NFC", given).split())
    if not name or len(name) > MAX_NAME_CHARACTERS:
        raise UserError(f"a name has 1 to {MAX_NAME_CHARACTERS} characters: choose another")
    if not name.isprintable():
        raise UserError(f"{shown(name)} has signs in it that cannot be seen: choose another name")
    return name


def folder_name(name: str) -> str:
    """What a folder is called that belongs to a name: its letters and digits."""
    letters = re.sub(r"[^\w-]+", "-", name).strip("-_")
    while len(letters.encode()) > MAX_PART_BYTES // 2:
        letters = letters[:-1]
    return f"{letters or 'collection'}-files" if RESERVED.fullmatch(letters or "-") else letters or "collection"


def stored_path(given: str) -> PurePosixPath:
    """Where an upload puts a file, relative to the folder of its collection: its own path as far as every file system
    takes it, and never one that leads elsewhere. Files of different paths never get the same one.

    Raises:
        UserError: it is no path of a file, it or one of its folders is hidden, or it is too long.
    """
    path = unicodedata.normalize("NFC", given)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.endswith("/"):
        raise UserError(f"{shown(given)} is no name of a file")
    if any(part.startswith(".") and part.strip(".") for part in parts):
        raise UserError("hidden files are not read: give it a name that does not begin with a dot")
    kept = [_safe(part) for part in parts]
    if kept != parts or path != "/".join(parts):
        kept[-1] = _marked(kept[-1], path)
    found = PurePosixPath(*kept)
    if len(kept) > MAX_PARTS or len(str(found).encode()) > MAX_PATH_BYTES:
        raise UserError("the path is too long: put it into fewer folders")
    return found


def _safe(part: str) -> str:
    """A name that every file system takes."""
    part = UNSAFE.sub("_", part).rstrip(". ") or "_"
    if RESERVED.fullmatch(part):
        part = f"_{part}"
    return _shortened(part, MAX_PART_BYTES)


def _shortened(part: str, most: int) -> str:
    """A name of at most so many bytes, with its ending."""
    stem, ending = _divided(part)
    return stem.encode()[: most - len(ending)].decode("utf-8", "ignore") + ending


def _marked(part: str, path: str) -> str:
    """A name that tells the path it is made of from all others."""
    mark = f"~{sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    stem, ending = _divided(_shortened(part, MAX_PART_BYTES - len(mark)))
    return stem + mark + ending


def _divided(part: str) -> tuple[str, str]:
    """A name and its ending."""
    found = ENDING.search(part)
    return (part[: found.start()], found.group()) if found else (part, "")


def readable_path(path: str | Path) -> str:
    """A path as text for a page, also one whose bytes are no text."""
    return os.fsencode(path).decode("utf-8", "replace")
