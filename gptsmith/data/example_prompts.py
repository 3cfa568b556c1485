"""Example prompts from the texts that a run is made from, for a person who does not know the model yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from gptsmith.base.errors import GptsmithError, UserError
from gptsmith.data.discover import discover
from gptsmith.data.examples import records, shape_of
from gptsmith.data.fields import plain_fields
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from gptsmith.data.shapes import KINDS as SHAPES
from gptsmith.pages.figures import evenly

NUM_PROMPTS = 3
PROMPT_WORDS = 8
PROMPT_CHARACTERS = 200
BEGINNING_CHARACTERS = 60
FEWEST_LETTERS = 8
RECORDS_LOOKED_AT = 1000
FILES_LOOKED_AT = 12
CHARACTERS_LOOKED_AT = 20_000


def example_prompts(sources: Iterable[str], *, of_conversations: bool) -> list[str]:
    """Up to three prompts from some files and folders, far apart: the first words of paragraphs, or questions."""
    try:
        found = _questions(sources) if of_conversations else _beginnings(sources)
    except (GptsmithError, OSError):  # they are for show only
        return []
    return evenly(list(dict.fromkeys(found)), NUM_PROMPTS)


def _questions(sources: Iterable[str]) -> list[str]:
    """The first questions of the conversations in some files."""
    found = []
    for path, record in islice(records(sources), RECORDS_LOOKED_AT):
        fields = plain_fields(record.fields)
        shape = shape_of(fields)
        if shape not in SHAPES.names():
            continue
        try:
            example = SHAPES.validate(shape).example(fields, str(path))
        except (UserError, KeyError, TypeError, AttributeError, StopIteration):
            continue
        request = [message["content"] for message in getattr(example, "messages", ()) if message["role"] == "user"]
        if request and 0 < len(request[0]) <= PROMPT_CHARACTERS:
            found.append(str(request[0]))
    return found


def _beginnings(sources: Iterable[str]) -> list[str]:
    """The beginnings of the first paragraphs of some files; one per file if there are enough files."""
    found = []
    for candidate in evenly(discover(sources).candidates, FILES_LOOKED_AT):
        try:
            chunk = next(read_documents(candidate.reader, candidate.file, ReadSettings()), None)
        except (GptsmithError, OSError):
            continue
        paragraphs = [] if chunk is None else re.split(r"\n\s*\n", chunk.text[:CHARACTERS_LOOKED_AT])
        if begun := [words for words in map(_first_words, paragraphs) if words]:
            found.append(begun)
    return [begun[0] for begun in found] if len(found) >= NUM_PROMPTS else [words for begun in found for words in begun]


def _first_words(paragraph: str) -> str:
    """The first words of a paragraph; empty if they are not mostly letters."""
    words = " ".join(paragraph.split()[:PROMPT_WORDS])[:BEGINNING_CHARACTERS]
    num_letters = sum(character.isalpha() for character in words)
    return words if num_letters >= max(FEWEST_LETTERS, len(words) / 2) else ""
