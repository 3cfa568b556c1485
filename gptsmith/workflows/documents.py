"""Opening the folders in which questions are looked up, with a bar while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gptsmith.base import console
from gptsmith.data.skipped_files import skipped_in_words
from gptsmith.retrieval.documents import Documents


def open_documents(folders: Sequence[str | Path]) -> Documents | None:
    """The documents of some folders, read now as far as they are new; None if there are no folders.

    Raises:
        DataError: there is nothing to read.
    """
    if not folders:
        return None
    with console.meter("reading documents", 1) as bar:

        def observe(done: int, num_files: int) -> None:
            bar.resize(num_files)
            bar.update(done)

        documents = Documents(folders, observe)
    num_files, num_passages = documents.index.counts()
    console.note(f"documents searched: {num_files:,} ({num_passages:,} passages)", "dim")
    for line in skipped_in_words({"skipped": documents.skipped}):
        console.note(line, "dim")
    return documents
