"""The splits of a folder that has some of its own, such as a data set of Hugging Face: files called after train,
validation and test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptsmith.data.discover import Candidate, Found, discover

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
DESCRIPTION = re.compile(r"(readme|licen[cs]e|notice|citation|dataset_infos?|dataset_dict|state)\b", re.IGNORECASE)
"""The names of files that describe a data set."""


@dataclass
class SourceSplits:
    """Files, by the split that they belong to."""

    train: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    note: str | None = None
    """A line for a person, where a folder has splits of its own."""


def source_splits(sources: Iterable[str | Path]) -> SourceSplits:
    """The files of some sources by split. Where folders have files of a train split and of another one, they keep their
    splits, and their other files, which describe the data, are left out; otherwise all sources are to train on.

    Raises:
        DataError: a source does not exist, or there is nothing to read.
    """
    given = list(map(str, sources))
    folders = _folders(given)
    if not folders:
        return SourceSplits(given)
    by_split = _by_split(discover(folders).candidates, folders)
    if by_split is None:
        return SourceSplits(given)
    paths = {name: [str(candidate.file.path) for candidate in candidates] for name, candidates in by_split.items()}
    named = [source for source in given if not Path(source).expanduser().is_dir()]
    return SourceSplits([*named, *paths["train"]], paths["validation"], paths["test"], _note(paths))


@dataclass
class FoundSplits:
    """Files of texts, by the split that they belong to. Those that are not trained on are in `train.skipped`, with the
    reason."""

    train: Found
    validation: Found | None = None
    test: Found | None = None
    note: str | None = None
    """A line for a person, where a folder has splits of its own."""


def found_splits(sources: Iterable[str | Path], *, validates: bool) -> FoundSplits:
    """The files of texts by split. Where folders have files of a train split and of another one, those of the other are
    not trained on, nor those that describe the data set; all the rest is.

    Args:
        validates: whether a validation split of the folders is to validate.

    Raises:
        DataError: a source does not exist, or there is nothing to read.
    """
    sources = list(sources)
    found = discover(sources)
    by_split = _by_split([candidate for candidate in found.candidates if not candidate.named], _folders(sources))
    if by_split is None:
        return FoundSplits(found)
    skipped = {**found.skipped}
    held_back = {
        candidate.file.path: f"it belongs to the {name} split of its folder"
        for name in ("validation", "test")
        for candidate in by_split[name]
    }
    train = []
    for candidate in found.candidates:
        path = candidate.file.path
        if path in held_back:
            skipped[str(path)] = held_back[path]
        elif not candidate.named and DESCRIPTION.match(path.name):
            skipped[str(path)] = "it describes the data set"
        else:
            train.append(candidate)
    validation = Found(by_split["validation"]) if validates and by_split["validation"] else None
    test = Found(by_split["test"]) if by_split["test"] else None
    return FoundSplits(Found(train, skipped), validation, test, _note(by_split))


def _folders(sources: Iterable[str | Path]) -> list[Path]:
    return [path for source in sources if (path := Path(source).expanduser()).is_dir()]


def _by_split(candidates: Iterable[Candidate], folders: Sequence[Path]) -> dict[str, list[Candidate]] | None:
    """The files in some folders that belong to a split; None unless there are files to train on and others."""
    by_split: dict[str, list[Candidate]] = {"train": [], "validation": [], "test": []}
    for candidate in candidates:
        path = candidate.file.path
        folder = next((folder for folder in folders if path.is_relative_to(folder)), None)
        if folder is None or not candidate.reader.keeps_splits:
            continue
        if (split := split_of(path.relative_to(folder))) is not None:
            by_split[split].append(candidate)
    return by_split if by_split["train"] and (by_split["validation"] or by_split["test"]) else None


def _note(by_split: Mapping[str, Sequence[object]]) -> str:
    counts = ", ".join(f"{len(files):,} of {name}" for name, files in by_split.items() if files)
    return f"the folder keeps its own splits: files {counts}"


def split_of(path: Path) -> str | None:
    """The split of a file, by its name or by the folder that it is in: `train-00000-of-00001.parquet`, `test/a.csv`."""
    for part in reversed(path.parts):
        words = re.split(r"[-_.\s\d]+", part.casefold())
        names = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        if names:
            return names[-1]
    return None
