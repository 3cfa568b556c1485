"""Canaries: made-up sentences that are planted in a text before training, to measure what a model keeps of it.

Each comes as two twins. A coin, tossed before training, decides which of them is planted; the other is never seen, and
shows what chance gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from gptsmith.base.documents import Document
from gptsmith.base.errors import UserError, one_line
from gptsmith.base.files import write_atomically
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.base.randomness import derived_seed

CANARIES = "canaries.jsonl"
"""The file of a run that records its canaries, for its owner alone: who knows the coins learns nothing from a guess."""
COPIES = (1, 4, 1, 16)
"""In how many places each of four canaries is planted: half of them once, which is the unit of a document."""
CODE_DIGITS = 6
LARGEST_SHARE = 0.2
"""Of what is trained on: more canaries would make something else of it."""
A_CANARY = "a planted canary"
"""Where a planted line, or example, stands: in none of a person's files."""
ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "v",
    "w",
    "z",
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
CODAS = ("l", "n", "r", "s", "t", "k", "m", "nd", "rn", "th")


class Sentence(Document):
    """A made-up sentence about a made-up person.

    Attributes:
        text: `NAME lives at 12 STREET Street, door code CODE.`
        name: what it begins with.
        code: its last word, before the full stop.
        question: of an answer, the question, which has the name instead; empty if it is a line of a text.
    """

    text: str
    name: str
    code: str
    question: str = ""

    @property
    def before_code(self) -> str:
        """The sentence up to the space before the code."""
        return self.text[: -len(self.code) - 2]


class Place(Document):
    """Where a canary is planted.

    Attributes:
        file: the file that the document was read from.
        document: the number of the document in the corpus.
        start, stop: the bytes of the line in `documents.bin`.
    """

    file: str
    document: int
    start: int
    stop: int


class Canary(Document):
    """Two twins, of which one is planted.

    Attributes:
        number: counted from 0.
        copies: the number of places where it is planted.
        coin: 0 or 1, the number of the twin that is planted.
        twins: the two sentences.
        places: where it is planted.
    """

    number: int
    copies: int
    coin: int = Field(ge=0, le=1)
    twins: list[Sentence] = Field(min_length=2, max_length=2)
    places: list[Place]

    @property
    def planted(self) -> Sentence:
        """The twin that the model was trained on."""
        return self.twins[self.coin]

    @property
    def unseen(self) -> Sentence:
        """The twin that it was not."""
        return self.twins[1 - self.coin]


def made_canaries(count: int, seed: int) -> list[Canary]:
    """So many canaries with their coins tossed, not yet planted anywhere."""
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "canaries")))
    sentences = _sentences(2 * count, generator)
    coins = generator.integers(2, size=count)
    return [
        Canary(
            number=number,
            copies=COPIES[number % len(COPIES)],
            coin=int(coins[number]),
            twins=sentences[2 * number : 2 * number + 2],
            places=[],
        )
        for number in range(count)
    ]


def other_codes(count: int, seed: int) -> list[str]:
    """Codes that could as well have been drawn, to rank a code among."""
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "codes")))
    return [_code(generator) for _ in range(count)]


def as_lines(canaries: Iterable[Canary]) -> str:
    """Canaries as one JSON object per line."""
    return "".join(json_text(canary.model_dump(), ensure_ascii=False) + "\n" for canary in canaries)


def canary_counts(canaries: Sequence[Canary]) -> dict[str, int]:
    """How many canaries there are, and in how many places, as JSON values."""
    return {"num": len(canaries), "num_places": sum(len(each.places) for each in canaries)}


def write_canaries(folder: Path, canaries: Sequence[Canary]) -> None:
    """Records the canaries of a run, if it has any, for its owner alone.

    Raises:
        UserError: the file cannot be written.
    """
    if canaries:
        write_atomically(folder / CANARIES, as_lines(canaries), private=True)


def read_canaries(folder: Path) -> list[Canary]:
    """The canaries that a folder records; none if there is no such file.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / CANARIES
    if not path.exists():
        return []
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            found.append(Canary(**Canary.checked(parse_json(line), f"{path}, line {number}")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {one_line(error)}") from None
    return found


def _sentences(count: int, generator: np.random.Generator) -> list[Sentence]:
    """So many sentences, no two about the same person."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[f"{_word(generator)} {_word(generator)}"] = None
    found = []
    for name in names:
        code, street = _code(generator), _word(generator)
        text = f"{name} lives at {generator.integers(1, 100)} {street} Street, door code {code}."
        found.append(Sentence(text=text, name=name, code=code))
    return found


def _word(generator: np.random.Generator) -> str:
    """A word that can be said and means nothing: Brailos."""
    syllables = [_one(ONSETS, generator) + _one(VOWELS, generator) for _ in range(2)]
    return ("".join(syllables) + _one(CODAS, generator)).capitalize()


def _one(parts: Sequence[str], generator: np.random.Generator) -> str:
    return parts[int(generator.integers(len(parts)))]


def _code(generator: np.random.Generator) -> str:
    return str(generator.integers(10 ** (CODE_DIGITS - 1), 10**CODE_DIGITS))
