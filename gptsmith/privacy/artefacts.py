"""Everything on this machine that holds some words, or was made of what holds them."""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptsmith.base.errors import GptsmithError
from gptsmith.base.files import read_json, sha256_of
from gptsmith.convert.certificate import CERTIFICATE
from gptsmith.data.cache import MANIFEST, key_of
from gptsmith.data.cache_contents import contents
from gptsmith.data.suffix_array import FORMAT_VERSION
from gptsmith.privacy.wanted import Wanted
from gptsmith.provenance.learned_text import DERIVED, derived_index
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.train.datasets.encoded import DTYPES, IDS

Holds = Literal["words", "weights", "made of it"]
MEANINGS: dict[Holds, str] = {
    "words": "the words stand in it",
    "weights": "it learnt from text that has them",
    "made of it": "it was made of what holds them",
}
WEIGHTS = (".safetensors", ".gguf")
TEXTS_IN_THE_CACHE = ("records", "corpora", "examples", "references", "tokenizers")
"""Kinds in the cache whose files are searched. Tokens and suffix arrays are found by what they were made of."""


@dataclass(frozen=True)
class Artefact:
    """Something that holds the words in some way.

    Attributes:
        kind: `source`, `list`, `run`, `derived run`, `export`, or the kind of something in the cache.
        path: a file, or a folder whose files belong together.
        holds: in which way.
        folder: the run or the export that it is a part of; None if it is of none.
    """

    kind: str
    path: Path
    holds: Holds
    folder: Path | None = None

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return {"kind": self.kind, "path": str(self.path), "holds": self.holds, "says": MEANINGS[self.holds]}


def artefacts(
    wanted: Sequence[Wanted],
    runs: Iterable[Path],
    others: Iterable[Path],
    sources: Iterable[Path],
    known: Container[Path | None],
    indexes: Iterable[Path],
    spelled: Iterable[Sequence[int]],
    cache: Path,
    places: Iterable[Path],
) -> list[Artefact]:
    """What holds some words.

    Args:
        runs: those that learnt from text that has them.
        others: runs whose files may have them all the same, because such text validated them or prompted a sample.
        sources: the files that they were read from.
        known: those of them in which the words are known to stand, also where they are packed.
        indexes: the suffix arrays of the text that has them.
        spelled: the token ids of the words, in each way in which examples may have them.
        cache: the folder of the cache.
        places: folders in which runs and exports may lie.
    """
    learnt = [run.resolve() for run in runs]
    found = [Artefact("source", path, "words") for path in sources if path in known or _holds(path, wanted)]
    for run in learnt:
        found += _in_folder("run", run, wanted, "weights")
    folders = _folders(places)
    derived = [folder for folder in folders if folder not in learnt and _is_made_of(folder, learnt)]
    for folder in derived:
        found += _in_folder("derived run", folder, wanted, "made of it")
    weights = {sha256_of(path) for run in (*learnt, *derived) for path in run.rglob("*") if path.suffix in WEIGHTS}
    for folder in folders:
        if folder not in learnt and folder not in derived and _is_certified_copy(folder, weights):
            found += _in_folder("export", folder, wanted, "made of it")
    for run in dict.fromkeys(run.resolve() for run in others):
        if run not in learnt and run not in derived:
            found += (one for one in _in_folder("run", run, wanted, "weights") if one.holds == "words")
    return [*found, *_in_cache(wanted, cache, indexes, spelled)]


def _in_folder(kind: str, folder: Path, wanted: Sequence[Wanted], weights: Holds) -> Iterator[Artefact]:
    """The weights of a run or an export, a checkpoint in one, and its files in which the words stand."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stored = (path if path.parent == folder else path.parent for path in files if path.suffix in WEIGHTS)
    yield from (Artefact(kind, path, weights, folder) for path in dict.fromkeys(stored))
    others = (path for path in files if path.suffix not in WEIGHTS)
    yield from (Artefact(kind, path, "words", folder) for path in others if _holds(path, wanted))


def _in_cache(
    wanted: Sequence[Wanted], cache: Path, indexes: Iterable[Path], spelled: Iterable[Sequence[int]]
) -> Iterator[Artefact]:
    """What of the cache has the words, as text or as the tokens of examples, and what is made of such a corpus."""
    every = contents(cache)
    holding = [one for one in every if one.kind in TEXTS_IN_THE_CACHE and _holds(one.path, wanted)]
    corpora = {one.path.name for one in holding if one.kind == "corpora"}
    tokens = {one.path.name for one in every if one.kind == "tokens" and _manifest(one.path).get("corpus") in corpora}
    yield from (Artefact(one.kind, one.path, "words") for one in holding)
    arrays = {*(key_of(FORMAT_VERSION, name) for name in tokens), *(index.name for index in indexes)}
    made = {*tokens, *arrays, *(derived_index(name, spelling) for name in arrays for spelling in DERIVED)}
    yield from (Artefact(one.kind, one.path, "made of it") for one in every if one.path.name in made)
    encoded = {np.array(ids, DTYPES[IDS]).tobytes() for ids in spelled if len(ids)}
    for one in every:
        path = one.path / IDS
        if one.kind == "examples" and one not in holding and path.is_file() and _has_one(path, encoded):
            yield Artefact(one.kind, one.path, "made of it")


def _holds(path: Path, wanted: Sequence[Wanted]) -> bool:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return any(each.is_in(file) for file in files for each in wanted)


def _has_one(path: Path, encoded: Iterable[bytes]) -> bool:
    """Whether a file has one of some rows of numbers."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(each) >= 0 for each in encoded)


def _folders(places: Iterable[Path]) -> list[Path]:
    """The folders that lie in some places, and these places. One that cannot be read is left out."""
    found = dict.fromkeys(place.resolve() for place in places if place.is_dir())
    for place in list(found):
        with suppress(PermissionError):
            found |= dict.fromkeys(path.resolve() for path in sorted(place.iterdir()) if path.is_dir())
    return list(found)


def _is_made_of(folder: Path, runs: Sequence[Path]) -> bool:
    """Whether a folder is a run that began with one of some runs, or with one that did."""
    seen: set[Path] = set()
    while (folder / SETTINGS).is_file() and folder not in seen:
        seen.add(folder)
        try:
            base = Run(folder).base_folder()
        except (GptsmithError, OSError):
            return False
        if base is None:
            return False
        if base.resolve() in runs:
            return True
        folder = base.resolve()
    return False


def _is_certified_copy(folder: Path, weights: Container[str]) -> bool:
    """Whether a folder holds a model that was exported from some weights, by the SHA-256 in its certificate."""
    sides = _json(folder / CERTIFICATE).get("sides", [])
    named = sides[0].get("files", {}) if sides and isinstance(sides[0], dict) else {}
    return any(sha256 in weights for sha256 in named.values())


def _manifest(path: Path) -> dict[str, Any]:
    return _json(path / MANIFEST)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path, with_names=True) if path.is_file() else {}
    except GptsmithError:
        return {}
    return value if isinstance(value, dict) else {}
