"""How several processes begin one run: the first one begins it, and the others read what it has written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.distributed import LostProcessError, Processes
from gptsmith.run.folder import Run
from gptsmith.run.followed import described, figures_of, followed_run, same_checkpoint
from gptsmith.store.objects import is_remote


class Begun(Protocol):
    """A run that begins, and the checkpoint that it continues from, if any."""

    @property
    def run(self) -> Run: ...
    @property
    def checkpoint(self) -> Checkpoint | None: ...


S = TypeVar("S", bound=Begun)
RUN = "run"
FIGURES_BEFORE = "figures before"
"""The figures that the run had when it was begun: one that had ended can be resumed."""


def ended_before(processes: Processes) -> dict[str, Any] | None:
    """The figures of the run, if it had ended when torchrun restarted the processes; None otherwise."""
    place, before = processes.remembered(RUN), processes.remembered(FIGURES_BEFORE)
    if place is None:
        return None
    figures = same_figures(place, processes)
    return None if json_text(figures) == before else figures


def same_figures(place: str, processes: Processes) -> dict[str, Any] | None:
    """The figures of the run in a folder or at a URL, as the first process finds them; None if it has not ended. All
    processes must call this.

    Raises:
        UserError: they cannot be read.
    """
    figures = processes.all_gather_made(lambda: figures_of(place) if processes.is_first else None)[0]
    return None if figures is None else dict(figures)


def place_of(run: Run) -> str:
    """What a run that is trained is known by to those who come after: its URL, or its folder from the root."""
    return run.place if is_remote(run.place) else str(run.folder.absolute())


def agree(begin: Callable[[], S], follow: Callable[[Run, Checkpoint | None], S], processes: Processes) -> S:
    """What the first process has begun; the others wait for it, and follow from its run.

    Raises:
        UserError: the first process cannot begin, or this one cannot follow, whose host is then named.
    """
    if processes.is_first:
        try:
            begun = begin()
            if processes.memory is not None:
                processes.remember(FIGURES_BEFORE, json_text(figures_of(place_of(begun.run))))
        except UserError as error:
            processes.broadcast({"error": str(error)})
            raise
        processes.remember(RUN, place_of(begun.run))
        processes.broadcast(described(begun.run))
        same_checkpoint(begun.run, lambda: begun.checkpoint, processes)
        return begun
    said = processes.broadcast(None)
    if "error" in said:
        raise UserError(said["error"])
    with naming_host(processes):
        run = followed_run(said)
        return follow(run, same_checkpoint(run, lambda: None, processes))


@contextmanager
def naming_host(processes: Processes) -> Iterator[None]:
    """Says of what is wrong in the block where that is, if it is not in the first process.

    Raises:
        UserError: something is wrong.
    """
    try:
        yield
    except LostProcessError:
        raise
    except UserError as error:
        if processes.is_first:
            raise
        raise UserError(f"{socket.gethostname()} (process {processes.rank}): {error}") from None
