"""How several processes begin one run: the first one begins it, and the others read what it has written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gptsmith.base.errors import UserError
from gptsmith.run.checkpoint import Checkpoint, list_checkpoints
from gptsmith.run.distributed import LostProcessError, Processes
from gptsmith.run.folder import Run


class Begun(Protocol):
    """A run that begins, and the checkpoint that it continues from, if any."""

    @property
    def run(self) -> Run: ...
    @property
    def checkpoint(self) -> Checkpoint | None: ...


S = TypeVar("S", bound=Begun)
RUN = "run"


def ended_before(processes: Processes) -> dict[str, Any] | None:
    """The figures of the run, if it had ended when torchrun restarted the processes; None otherwise."""
    folder = processes.remembered(RUN)
    return None if folder is None else Run(Path(folder)).result()


def agree(begin: Callable[[], S], follow: Callable[[Run, Checkpoint | None], S], processes: Processes) -> S:
    """What the first process has begun; the others wait for it, and follow from its run.

    Raises:
        UserError: the first process cannot begin, or this one cannot follow, whose host is then named.
    """
    if processes.is_first:
        try:
            begun = begin()
        except UserError as error:
            processes.broadcast({"error": str(error)})
            raise
        checkpoint = None if begun.checkpoint is None else str(begun.checkpoint.folder.absolute())
        processes.remember(RUN, str(begun.run.folder.absolute()))
        processes.broadcast({"run": str(begun.run.folder.absolute()), "checkpoint": checkpoint})
        return begun
    said = processes.broadcast(None)
    if "error" in said:
        raise UserError(said["error"])
    with naming_host(processes):
        run = Run.open(said["run"])
        return follow(
            run, next((c for c in list_checkpoints(run.checkpoints) if str(c.folder) == said["checkpoint"]), None)
        )


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
