"""Who needs the files of a collection: jobs that wait or run, and runs that can be resumed from them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gptsmith.base.errors import UserError, shown
from gptsmith.base.leftovers import remove
from gptsmith.run.folder import SETTINGS
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.made import MADE
from gptsmith.serve.studio.jobs.rows import JobRows
from gptsmith.serve.studio.place import Place

LATELY_S = 3600.0
"""What was made or asked for so lately may be about to be read."""
GIVEN_UP = ("plan", "audit")
"""Verbs whose jobs may lose their files: they are begun anew in a moment."""


def require_unread(jobs: JobRows, collection: Collection) -> list[str]:
    """The plans and audits that are on their way and read the files of a collection, by the ids of their jobs.

    Raises:
        UserError: another job needs these files.
    """
    found = jobs.within(collection.home)
    for job in found:
        if job["verb"] not in GIVEN_UP:
            raise UserError(
                f"the files of {shown(collection.name)} are needed by a job that waits or runs ({job['title']}): "
                "wait for it, or stop it first"
            )
    return [job["id"] for job in found]


def runs_of(place: Place, folder: Path) -> list[str]:
    """The runs that were made of files in a folder, by what their settings name: they need it to be resumed."""
    wanted = os.fsencode(folder.relative_to(place.folder)) + b"/"
    return sorted(path.parent.name for path in place.runs.glob(f"*/{SETTINGS}") if wanted in _content(path))


def sweep_made(place: Place, jobs: JobRows, collection: Collection) -> None:
    """Deletes the edited texts of a collection that no job and no run needs, and that nobody asked for lately. The
    recipe makes them anew if need be."""
    for folder in _old(collection.home / MADE):
        if not jobs.within(folder) and not runs_of(place, folder):
            remove(folder)


def _old(made: Path) -> Iterator[Path]:
    with suppress(OSError):
        for folder in sorted(made.glob("[!.]*")):
            if time.time() - folder.stat().st_mtime > LATELY_S:
                yield folder


def _content(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""
