"""The upload of a run, from the folder here in which it is trained to a store. No torch."""

from __future__ import annotations

import os
import shutil
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table, readable_bytes
from gptsmith.base.leftovers import PREFIXES, temporary_folder
from gptsmith.run.checkpoint import (
    CHECKPOINTS,
    MANIFEST,
    NAME,
    Checkpoint,
    list_checkpoints,
)
from gptsmith.run.folder import LOCK, PRIVATE_KEY, RESULT, SETTINGS, STORED
from gptsmith.store.folders import delete_folder, upload_folder
from gptsmith.store.lock import LostLockError, StoreLock
from gptsmith.store.objects import Store, StoreError

STAYS_HERE = (LOCK, STORED, PRIVATE_KEY)
LOOK_EVERY_S = 0.5
"""How often the folder is looked at for a new checkpoint."""
FILES_EVERY_S = 20.0
"""How often the other files are uploaded that have changed."""
MAX_PAUSE_S = 60.0
BAD_MANIFEST = f"{MANIFEST}.bad"
"""The name of the manifest of a checkpoint in the store that was set aside, because it is not whole."""
LAST_PAUSES_S = (1, 2, 4, 8, 16)
"""The waits between the last tries, when training has ended."""


class Mirror:
    """Uploads what becomes durable in a run's folder, by a thread that training does not wait for.

    Files come first, then the files of a checkpoint, then its manifest, and result.json last of all. Checkpoints that
    are no longer needed are deleted there by the same rule as here.

    Attributes:
        good: the checkpoints that are whole in the store, as this process knows: their manifests, by their steps.
        lost: the error, if somebody else has taken over.
        is_whole: whether all of the folder is in the store, after the block.
    """

    def __init__(self, folder: Path, store: Store, lock: StoreLock, good: dict[int, bytes] | None = None) -> None:
        self.folder, self.store, self.lock = folder, store, lock
        self.good = dict(good or {})
        self._sent = dict(self.good)
        self.lost: LostLockError | None = None
        self.is_whole = False
        self._uploaded: dict[str, tuple[int, int]] = {}
        self._failures = 0
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Uploads while the block runs, and the rest after it.

        Raises:
            LostLockError: somebody else has taken over.
            StoreError: something could not be uploaded; the message says what, and how to upload it. Where the block
                has failed, that is a note, and the block's own error remains.
        """
        failure: UserError | None = None
        is_main = threading.current_thread() is threading.main_thread()
        thread = threading.Thread(target=self._work, args=(is_main,), name="upload", daemon=True)
        thread.start()
        try:
            yield
        except UserError as error:
            failure = error
            raise
        finally:
            self._ended.set()
            thread.join()
            if self.lost is not None:
                raise self.lost
            try:
                self._finish()
            except StoreError as error:
                if failure is None:
                    raise
                note(str(error), "yellow")

    def upload(self) -> None:
        """Uploads what is new, but for result.json.

        Raises:
            LostLockError: somebody else has taken over.
            StoreError: an object cannot be written.
        """
        if not (self.folder / SETTINGS).exists():
            return
        self.lock.require()
        self._upload_files()
        checkpoints = list_checkpoints(self.folder / CHECKPOINTS)
        for checkpoint in checkpoints:  # the newest first: if there is no time for all, it is worth the most
            if self._is_new(checkpoint):
                self._upload_checkpoint(checkpoint)
        if checkpoints and checkpoints[0].step in self.good:
            self._delete_old(checkpoints[0])

    def _work(self, is_main: bool) -> None:
        seen, done_at, pause_s = -1, 0.0, LOOK_EVERY_S
        while not self._ended.wait(pause_s):
            newest = max((one.step for one in list_checkpoints(self.folder / CHECKPOINTS)), default=-1)
            if newest == seen and time.monotonic() - done_at < FILES_EVERY_S:
                continue
            try:
                self.upload()
            except LostLockError as error:
                self.lost = error
                if is_main:
                    interrupt_main()  # training ends as by Ctrl-C, with a checkpoint
                return
            except (UserError, OSError) as error:
                self._failures += 1
                pause_s = min(2.0**self._failures, MAX_PAUSE_S)
                if self._failures == 1:
                    note(
                        f"uploading to {self.store.url} fails and is tried again, training continues: {error}",
                        "yellow",
                    )
                continue
            if self._failures:
                note(f"uploading to {self.store.url} works again")
            seen, done_at, pause_s, self._failures = newest, time.monotonic(), LOOK_EVERY_S, 0

    def _finish(self) -> None:
        """Uploads the rest; a run that has ended gets its result.json last."""
        for pause_s in (*LAST_PAUSES_S, None):
            try:
                self.upload()
                if has_ended(self.folder):
                    self.lock.require()
                    self.store.upload(self.folder / RESULT, RESULT)
                self.is_whole = True
                return
            except LostLockError:
                raise
            except (UserError, OSError) as error:
                if pause_s is None:
                    raise StoreError(self._missing(error)) from None
                note(f"uploading to {self.store.url} fails, and is tried again in {pause_s} s: {error}", "yellow")
                time.sleep(pause_s)

    def _missing(self, error: Exception) -> str:
        changed = [path for path in self._files() if self._uploaded.get(self._name(path)) != _version(path)]
        checkpoints = [one for one in list_checkpoints(self.folder / CHECKPOINTS) if self._is_new(one)]
        paths = [*changed, *(path for one in checkpoints for path in one.folder.iterdir())]
        names = ", ".join([*(one.folder.name for one in checkpoints), *(path.name for path in changed)][:4])
        num_bytes = readable_bytes(sum(path.stat().st_size for path in paths))
        return (
            f"{error}. What is not in {self.store.url} yet ({names}; {num_bytes}) is in {self.folder}: the same "
            "command again, on this machine, uploads it"
        )

    def _files(self) -> list[Path]:
        """The files of the run besides its checkpoints, and besides the result, which comes last."""
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        return sorted(path for path in found if self._is_uploaded(path))

    def _is_uploaded(self, path: Path) -> bool:
        parts = path.relative_to(self.folder).parts
        is_temporary = any(part.startswith(PREFIXES) for part in parts)
        is_frozen = parts[0] == CHECKPOINTS and len(parts) == 2  # weights of all checkpoints, which never change
        return not is_temporary and (is_frozen or parts[0] not in (*STAYS_HERE, CHECKPOINTS, RESULT))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _upload_files(self) -> None:
        for path in self._files():
            try:
                version = _version(path)
                if self._uploaded.get(self._name(path)) == version:
                    continue
                self.store.upload(path, self._name(path))
            except FileNotFoundError:  # deleted just now
                continue
            self._uploaded[self._name(path)] = version

    def _upload_checkpoint(self, checkpoint: Checkpoint) -> None:
        name = f"{CHECKPOINTS}/{checkpoint.folder.name}"
        with temporary_folder(self.folder / CHECKPOINTS / "upload", private=True) as pinned:
            try:
                manifest = (checkpoint.folder / MANIFEST).read_bytes()
                for path in checkpoint.folder.iterdir():
                    _link(path, pinned / path.name)
                if (checkpoint.folder / MANIFEST).read_bytes() != manifest:  # trained anew meanwhile: next time
                    return
            except FileNotFoundError:  # deleted meanwhile
                return
            upload_folder(self.store, pinned, name, MANIFEST, self.lock.require)
            self.good[checkpoint.step] = self._sent[checkpoint.step] = (pinned / MANIFEST).read_bytes()

    def _is_new(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint was not uploaded, or has been trained anew since."""
        try:
            return self._sent.get(checkpoint.step) != (checkpoint.folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            return False

    def _delete_old(self, newest: Checkpoint) -> None:
        """Deletes what retention deletes here, and what an upload that was killed left."""
        settings, best_step = newest.settings().get("checkpoint", {}), newest.train_state().best_step
        keep, every = settings.get("keep", 2), settings.get("keep_every_steps")
        names = self.store.names(CHECKPOINTS)
        aside = {name.split("/")[1] for name in names if name.endswith(f"/{BAD_MANIFEST}")}
        folders = {name.split("/")[1] for name in names} - aside
        stored = {int(match[1]) for folder in folders if (match := NAME.fullmatch(folder))}
        whole = {step for step in stored if f"{CHECKPOINTS}/step-{step:09d}/{MANIFEST}" in names}
        kept = set(sorted(self.good.keys() & whole, reverse=True)[:keep])
        if len(kept) < keep:
            kept |= whole
        kept |= {step for step in whole if step == best_step or (every and step % every == 0)}
        kept = {step for step in kept if step <= newest.step}  # training went back behind the others
        for step in sorted(stored - kept):
            self.lock.require()
            delete_folder(self.store, f"{CHECKPOINTS}/step-{step:09d}", MANIFEST)
            self.good.pop(step, None)


def has_ended(folder: Path) -> bool:
    """Whether the run in a folder has ended, and was not resumed since."""
    if not (folder / RESULT).exists():
        return False
    newest = max((one.step for one in list_checkpoints(folder / CHECKPOINTS)), default=0)
    return int(read_table(folder / RESULT).get("step") or 0) >= newest


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, target)


def _version(path: Path) -> tuple[int, int]:
    """Differs after every change of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
