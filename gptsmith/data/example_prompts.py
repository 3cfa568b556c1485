"""Example prompts from the texts that a run learns from, for a person who does not know the model yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

import numpy as np

from gptsmith.data.care.planting import read_unplanted
from gptsmith.data.corpus import Corpus
from gptsmith.data.shapes import Example
from gptsmith.pages.figures import evenly

NUM_PROMPTS = 3
PROMPT_WORDS = 8
PROMPT_CHARACTERS = 200
BEGINNING_CHARACTERS = 60
FEWEST_LETTERS = 8
EXAMPLES_LOOKED_AT = 1000
DOCUMENTS_LOOKED_AT = 12
BYTES_LOOKED_AT = 20_000


def questions(examples: Iterable[Example]) -> list[str]:
    """Up to three prompts from examples, far apart: the first questions of conversations."""
    found = []
    for example in islice(examples, EXAMPLES_LOOKED_AT):
        request = [message["content"] for message in getattr(example, "messages", ()) if message["role"] == "user"]
        if request and 0 < len(request[0]) <= PROMPT_CHARACTERS:
            found.append(str(request[0]))
    return evenly(list(dict.fromkeys(found)), NUM_PROMPTS)


def beginnings(corpus: Corpus) -> list[str]:
    """Up to three prompts from documents, far apart: the first words of paragraphs; one per document if there are
    enough."""
    (starts, stops), table = corpus.bounds(), corpus.table
    rank = np.argsort(np.argsort([file.path for file in corpus.files]))
    found = []
    for document in evenly(np.lexsort((table["start"], rank[table["file"]])).tolist(), DOCUMENTS_LOOKED_AT):
        start = int(starts[document])
        text = read_unplanted(corpus, start, min(start + BYTES_LOOKED_AT, int(stops[document]))).decode(
            "utf-8", "ignore"
        )
        if begun := [words for words in map(_first_words, re.split(r"\n\s*\n", text)) if words]:
            found.append(begun)
    one_each = len(found) >= NUM_PROMPTS
    every = [words for begun in found for words in (begun[:1] if one_each else begun)]
    return evenly(list(dict.fromkeys(every)), NUM_PROMPTS)


def _first_words(paragraph: str) -> str:
    """The first words of a paragraph; empty if they are not mostly letters."""
    words = " ".join(paragraph.split()[:PROMPT_WORDS])[:BEGINNING_CHARACTERS]
    num_letters = sum(character.isalpha() for character in words)
    return words if num_letters >= max(FEWEST_LETTERS, len(words) / 2) else ""
