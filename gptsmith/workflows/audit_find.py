"""Everything that a run, and what came of it, holds of some words."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import UserError, one_line
from gptsmith.base.files import write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import noted_folders
from gptsmith.convert.load import Loaded
from gptsmith.data.discover import require_apart
from gptsmith.privacy.artefacts import Artefact, artefacts
from gptsmith.privacy.find import Mention, mentions, scored, tokens_of_words
from gptsmith.privacy.wanted import Wanted
from gptsmith.provenance.learned_texts import LearnedTexts, learned_texts

CONTINUED_TOKENS = 24


@dataclass(frozen=True)
class FoundWords:
    """The places of some words in what a run learnt from.

    Attributes:
        wanted: the words.
        learned: the texts that were searched.
        mentions: the places where they stand in what was trained on.
        held_out: the name and the number of the places of each document that validates and has them.
    """

    wanted: Sequence[Wanted]
    learned: LearnedTexts
    mentions: list[Mention]
    held_out: dict[str | None, int]

    @property
    def runs(self) -> list[Path]:
        """The runs that learnt from text that has them."""
        return list(dict.fromkeys(Path(each.source.run) for each in self.mentions))


def find_words(run: Loaded, words: Iterable[str]) -> FoundWords:
    """The places of some words in what a run and its bases learnt from.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: there are no words, or none of those texts is here.
    """
    wanted = [Wanted(word) for word in words]
    learned = learned_texts(run.run)
    if not learned.texts:
        raise UserError("; ".join(learned.missing))
    held_out: dict[str | None, int] = {}
    for text in learned.texts:
        for sha256, content in text.held_out_documents():
            number = _count(wanted, content)
            if number:
                held_out[sha256] = held_out.get(sha256, 0) + number
    found: list[Mention] = []
    for text in learned.texts:
        try:
            found += mentions(text, wanted)
        except UserError as error:
            learned.missing.append(
                f"turns of {text.run} are scored by themselves, without what stands before them: {one_line(error)}"
            )
            found += mentions(text, wanted, in_examples=False)
    return FoundWords(wanted, learned, found, held_out)


def audit_find(run: Loaded, words: Iterable[str], out: str | Path | None = None) -> dict[str, Any]:
    """Everything that a run and what came of it holds of some words: the places in its texts, how easily the model says
    them there, whole tokens, and everything on this machine that has them.

    Args:
        out: a file for the list of the places, one JSON object per line, by which they can be left out.

    Returns:
        run, find, num_documents, mentions (of each text, sha256, file, line, before, after, log_probability, tries,
        is_greedy and more), num_held_out, other_spellings (how often each word stands there alone), tokenizer_words,
        continuations (greedy, by what was looked for), artefacts (kind, path, holds), missing, seconds.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: there are no words, or none of the texts is here.
    """
    started = time.monotonic()
    found = find_words(run, words)
    if out is not None:
        require_apart(out, [path for text in found.learned.texts for path in text.files.located()])
    can_write = not run.config.num_labels
    scores = scored(run.model, run.tokenizer, found.mentions) if can_write else [None] * len(found.mentions)
    rows = [each.plain(score) for each, score in zip(found.mentions, scores, strict=True)]
    if out is not None:
        write_list(Path(out), found, rows)
    return {
        "run": str(run.run.folder),
        "find": [each.text for each in found.wanted],
        "num_documents": len({(each.source.run, each.source.document) for each in found.mentions}),
        "mentions": rows,
        "num_held_out": sum(found.held_out.values()),
        "other_spellings": _alone(found),
        "tokenizer_words": tokens_of_words(run.tokenizer, found.wanted),
        "continuations": _continuations(run, found.wanted) if can_write else {},
        "artefacts": [each.plain() for each in holding(run, found)],
        "missing": found.learned.missing,
        "seconds": time.monotonic() - started,
    }


def holding(run: Loaded, found: FoundWords) -> list[Artefact]:
    """Everything on this machine that holds the words: sources, runs, what was made of them, and the cache."""
    searched = {run.run.folder, *(text.run for text in found.learned.texts)}
    files = {str(text.run): text.files for text in found.learned.texts}
    sources = {path for each in files.values() for path in each.located()}
    unchanged = {(each.source.run, each.source.file) for each in found.mentions if each.source.state == "unchanged"}
    known = {files[name].state(file)[0] for name, file in unchanged}
    places = [*(folder.resolve().parent for folder in searched), Path("runs"), Path(), *noted_folders()]
    indexes = [text.index for text in found.learned.texts if text.run in found.runs]
    spellings = (f"{space}{each.text}" for each in found.wanted for space in ("", " "))
    spelled = [*(each.ids for each in found.mentions), *map(run.tokenizer.encode, spellings)]
    return artefacts(
        found.wanted, found.runs, sorted(searched), sorted(sources), known, indexes, spelled, default_cache(), places
    )


def write_list(path: Path, found: FoundWords, rows: Iterable[dict[str, Any]]) -> None:
    """Writes the places as a list that `--without` and `forget` read; documents that validate are on it too. It holds
    what was found, so that only its owner can read it."""
    held_out = ({"kind": "held_out", "sha256": sha256} for sha256 in found.held_out if sha256 is not None)
    lines = (json_text(row, ensure_ascii=False) + "\n" for row in (*rows, *held_out))
    write_atomically(path, "".join(lines), private=True)


def _alone(found: FoundWords) -> dict[str, int]:
    """How often each word of several stands in the texts."""
    alone = [one for each in found.wanted for one in each.alone()]
    counts = dict.fromkeys((one.text for one in alone), 0)
    for text in found.learned.texts if alone else ():
        for document in range(len(text.ends)):
            content = text.text_of(document)
            for one in alone:
                counts[one.text] += _count([one], content)
    return counts


def _count(wanted: Sequence[Wanted], content: bytes) -> int:
    words = content.decode("utf-8", "replace")
    return sum(1 for each in wanted for _ in each.spans(words))


def _continuations(run: Loaded, wanted: Sequence[Wanted]) -> dict[str, str]:
    """The text that the model writes after the words, greedily."""
    return {each.text: run.generate(each.text, max_tokens=CONTINUED_TOKENS, temperature=0) for each in wanted}
