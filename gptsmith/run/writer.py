"""Writing a run's checkpoints in the background, as the only process that does. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gptsmith.base.errors import UserError
from gptsmith.base.files import require_room, writing
from gptsmith.base.leftovers import FORMER_PREFIXES, remove, sweep
from gptsmith.run.checkpoint import CHECKPOINTS, Retention, publish_checkpoint
from gptsmith.run.folder import LOCK, SETTINGS, require_free

MAX_FAILURES = 3
SPARE_BYTES = 16 << 20
"""The room that must stay on the disk besides a checkpoint."""


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Locks the run in this folder while the block runs, and removes what a killed process left.

    Raises:
        UserError: another process is training it.
    """
    lock = FileLock(run / LOCK)
    with writing(run / LOCK):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"{run} is being trained by another process: wait for it, or stop it") from None
    try:
        sweep(run)
        sweep(run / CHECKPOINTS, FORMER_PREFIXES)
        yield
    finally:
        lock.release()


@contextmanager
def claimed(folders: Iterable[Path]) -> Iterator[Path]:
    """The first of some folders that nobody else has, made and locked while the block runs. It is deleted if the block
    fails before a run is in it.

    Raises:
        UserError: none can be had.
    """
    taken: UserError | None = None
    with ExitStack() as held:
        for folder in folders:
            with writing(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                sweep(folder.parent)
                with suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
            try:
                held.enter_context(only_writer(folder))
                require_free(folder)
            except UserError as error:
                taken = error
                held.close()
                continue
            try:
                yield folder
            except BaseException:
                if not (folder / SETTINGS).exists():
                    remove(folder)
                raise
            return
    assert taken is not None, "there is a folder to claim"
    raise taken


class CheckpointWriter:
    """Writes checkpoints while its `with` block runs, in a run of which this process is the only writer.

    `save` returns at once; what it was given is written, verified and named by a thread. A full disk loses nothing: the
    checkpoint is skipped, and after three in a row `save` raises.
    """

    def __init__(self, checkpoints: Path, retention: Retention, warn: Callable[[str], None]) -> None:
        self.checkpoints, self.retention, self.warn = checkpoints, retention, warn
        self.failures: list[UserError] = []
        self.running: Future[None] | None = None

    def __enter__(self) -> CheckpointWriter:
        self.pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *error: object) -> None:
        """Waits for what is being written."""
        self.pool.shutdown()

    def save(self, step: int, num_bytes: int, fill: Callable[[Path], Any], best_step: int | None) -> None:
        """Has `fill` write a checkpoint of about `num_bytes` into a fresh folder, after the one before it is done.

        Raises:
            UserError: three checkpoints in a row could not be written.
        """
        self.wait()
        if len(self.failures) >= MAX_FAILURES:
            raise UserError(f"{len(self.failures)} checkpoints in a row could not be written: {self.failures[-1]}")
        self.running = self.pool.submit(self._write, step, num_bytes, fill, best_step)

    def wait(self) -> None:
        """Until the last checkpoint is durable, or has failed with a warning."""
        if self.running is None:
            return
        running, self.running = self.running, None
        try:
            running.result()
            self.failures.clear()
        except UserError as error:
            self.failures.append(error)
            self.warn(f"a checkpoint is skipped, training continues: {error}")

    def _write(self, step: int, num_bytes: int, fill: Callable[[Path], Any], best_step: int | None) -> None:
        require_room(self.checkpoints, num_bytes + SPARE_BYTES, "a checkpoint")
        publish_checkpoint(self.checkpoints, step, fill)
        self.retention.apply(self.checkpoints, best_step)
