"""The splits of a folder that has some of its own, such as a data set of Hugging Face: files called after train,
validation and test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gptsmith.data.discover import discover

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


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
    folders = [Path(source).expanduser() for source in given if Path(source).expanduser().is_dir()]
    if not folders:
        return SourceSplits(given)
    found = SourceSplits([source for source in given if not Path(source).expanduser().is_dir()])
    by_split: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for candidate in discover(folders).candidates:
        path = candidate.file.path
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        if (split := split_of(path.relative_to(folder))) is not None:
            by_split[split].append(str(path))
    if not by_split["train"] or not (by_split["validation"] or by_split["test"]):
        return SourceSplits(given)
    found.train += by_split["train"]
    found.validation, found.test = by_split["validation"], by_split["test"]
    counts = ", ".join(f"{len(files):,} of {name}" for name, files in by_split.items() if files)
    found.note = f"the folder keeps its own splits: files {counts}"
    return found


def split_of(path: Path) -> str | None:
    """The split of a file, by its name or by the folder that it is in: `train-00000-of-00001.parquet`, `test/a.csv`."""
    for part in reversed(path.parts):
        words = re.split(r"[-_.\s\d]+", part.casefold())
        names = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        if names:
            return names[-1]
    return None
