"""Writing checkpoints together: each of several processes its own shards, in the background."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import require_room, sync_file, writing
from gptsmith.run.checkpoint import Retention, file_record, publish_checkpoint
from gptsmith.run.distributed import Processes
from gptsmith.run.writer import SPARE_BYTES, CheckpointWriter


class SharedCheckpointWriter(CheckpointWriter):
    """Writes checkpoints of which each process has a part.

    All processes save together. Each writes and hashes its own files, into one folder on a disk that all see; the first
    one writes the manifest once all files are durable. Where one fails, there is no checkpoint, and all know it.
    """

    def __init__(
        self, checkpoints: Path, retention: Retention, warn: Callable[[str], None], processes: Processes
    ) -> None:
        """
        Args:
            processes: in a group that only the writers' threads talk in.
        """
        super().__init__(checkpoints, retention, warn)
        self.processes = processes

    def _write(self, step: int, num_bytes: int, fill: Callable[[Path], Any], best_step: int | None) -> None:
        """Has `fill` write this process's files, and return them."""
        total_bytes = int(sum(self.processes.all_reduce_sum([num_bytes])))
        if not self.processes.is_first:
            self._write_with_first(fill)
            return
        records: dict[str, Any] = {}
        is_told, problem = False, None

        def fill_with_others(folder: Path) -> None:
            nonlocal is_told
            is_told = bool(self.processes.broadcast(folder.name))
            records.update(self._written_by_all(folder, fill))

        try:
            require_room(self.checkpoints, total_bytes + SPARE_BYTES, "a checkpoint")
            publish_checkpoint(self.checkpoints, step, fill_with_others, records)
        except UserError as error:
            problem = error
        if not is_told:
            self.processes.broadcast(None)
        self.processes.broadcast(None if problem is None else str(problem))
        if problem is not None:
            raise problem
        self.retention.verified.add(step)  # each process has read what it wrote
        self.retention.apply(self.checkpoints, best_step)

    def _write_with_first(self, fill: Callable[[Path], Any]) -> None:
        """Writes this process's files into the folder of the first one.

        Raises:
            UserError: there is no checkpoint, because this or another process failed.
        """
        name = self.processes.broadcast(None)
        if name is not None:
            with suppress(UserError):  # the first one says it to all
                self._written_by_all(self.checkpoints / name, fill)
        if problem := self.processes.broadcast(None):
            raise UserError(problem)

    def _written_by_all(self, folder: Path, fill: Callable[[Path], Any]) -> dict[str, Any]:
        """The records of the files that all processes have written, durably.

        Raises:
            UserError: one of them could not.
        """

        def write() -> dict[str, Any]:
            if not folder.is_dir():
                raise UserError(f"{folder} is not there: the run must lie on a disk that all processes see")
            records = {}
            with writing(folder):
                for path in fill(folder):
                    sync_file(path)
                    records[path.name] = file_record(path)
            return records

        return {name: record for records in self.processes.all_gather_made(write) for name, record in records.items()}
