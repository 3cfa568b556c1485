"""Lists of what is to be found: of passages and names, as an audit writes them, and of names, one per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import DataError
from gptsmith.data.care.finders import FinderSettings
from gptsmith.data.care.finders.name import NameSettings
from gptsmith.data.care.finders.passage import PassageSettings
from gptsmith.data.care.left_out import json_lines

PASSAGE, NAME = "passage", "name"
HOW_TO_LIST = f'write {{"kind": "{PASSAGE}", "text": "..."}} per line'
MAX_NAME_CHARACTERS = 200
MAX_LIST_BYTES = 1 << 24


def listed_finders(lists: Iterable[str | Path], max_characters: int) -> list[FinderSettings]:
    """The finders of the passages and names in the lines of some lists, each once.

    Args:
        max_characters: of a passage.

    Raises:
        DataError: a list cannot be read, or has no passage and no name in it.
    """
    listed = list(dict.fromkeys(each for path in lists for each in _listed_in(Path(path), max_characters)))
    passages = tuple(text for kind, text in listed if kind == PASSAGE)
    names = tuple(text for kind, text in listed if kind == NAME)
    return [*([PassageSettings(texts=passages)] if passages else []), *([NameSettings(names=names)] if names else [])]


def _listed_in(path: Path, max_characters: int) -> Iterator[tuple[str, str]]:
    """The kind and the text of each line of the kinds `passage` and `name`, none so long that the end of a block could
    hide it."""
    found = False
    for place, value in json_lines(path, HOW_TO_LIST):
        if (kind := value.get("kind")) not in (PASSAGE, NAME):
            continue
        text = value.get("text")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{place}: a line of the kind {kind} needs the text to replace, as `text`")
        if len(text) > max_characters:
            raise DataError(
                f"{place}: a {kind} of {len(text):,} characters, and at most {max_characters:,} are looked for at "
                "once: list it in parts, or leave its document out by --without"
            )
        found = True
        yield str(kind), " ".join(text.split()) if kind == NAME else text
    if not found:
        raise DataError(f"{path} has no line of the kind {PASSAGE} or {NAME}: {HOW_TO_LIST}")


def names_in(path: Path) -> tuple[str, ...]:
    """The names in a file of a person, one per line, each once; blank lines are none.

    Raises:
        DataError: the file cannot be read, or holds no names.
    """
    how = "write one name or word per line"
    try:
        with open_regular(path) as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {how}") from None
    if len(content) > MAX_LIST_BYTES:
        raise DataError(f"{path} is larger than {MAX_LIST_BYTES:,} bytes: no list of names is; {how}")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start:,} is not UTF-8: save the list as UTF-8") from None
    names = dict.fromkeys(name for line in lines if (name := " ".join(line.split())))
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_NAME_CHARACTERS:
            raise DataError(
                f"{path}, line {number:,}: a name of {len(line):,} characters, and at most {MAX_NAME_CHARACTERS} are "
                f"allowed: {how}"
            )
        if line.strip() and not any(character.isalnum() for character in line):
            raise DataError(f"{path}, line {number:,}: no letter or digit in it: {how}")
    if not names:
        raise DataError(f"{path} holds no names: {how}")
    return tuple(names)
