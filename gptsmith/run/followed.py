"""A run that the first process trains, as the others see it: in its folder, or, where that is trained for a store and
lies on another host, in the cache here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.errors import CheckpointError, UserError
from gptsmith.base.files import read_table, write_atomically
from gptsmith.base.json_reader import parse_json
from gptsmith.data.cache import only_builder
from gptsmith.data.cache_contents import FOLDERS
from gptsmith.run.checkpoint import CHECKPOINTS, MANIFEST, Checkpoint
from gptsmith.run.distributed import Processes
from gptsmith.run.fetch import fetch_checkpoint
from gptsmith.run.folder import RESULT, STORED, Run
from gptsmith.run.mirror import has_ended
from gptsmith.run.remote import place_here
from gptsmith.store.objects import NoObjectError, Store, is_remote

FOLLOWED = (".toml", ".json", ".jinja")
"""The endings of the files that the others read: settings, tokenizer, template, what was read."""
LOOK_EVERY_S = 0.5
MAX_WAIT_S = 1800.0
"""How long a checkpoint may take to be uploaded."""


class FollowedRun(Run):
    """The files of a run that is trained for a store on another host.

    Attributes:
        store: where its checkpoints come from.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        super().__init__(folder)
        self.store = store

    @property
    def place(self) -> str:
        return self.store.url

    def fetched(self, step: int, manifest: str) -> Checkpoint:
        """The checkpoint of a step with this manifest, fetched once it is in the store.

        Raises:
            CheckpointError: it does not come, or is damaged.
            StoreError: the store cannot be read.
        """
        found = Checkpoint(self.checkpoints / f"step-{step:09d}", step)
        name, deadline = f"{CHECKPOINTS}/{found.folder.name}", time.monotonic() + MAX_WAIT_S
        while not _holds(self.store, f"{name}/{MANIFEST}", manifest):
            if time.monotonic() > deadline:
                raise CheckpointError(
                    f"{self.store.url}/{name} was not uploaded within {MAX_WAIT_S / 60:.0f} minutes: see what the "
                    "first host says of the store"
                )
            time.sleep(LOOK_EVERY_S)
        with only_builder(private_folder(self.folder.parent)):
            problem = fetch_checkpoint(self.store, found)
        if problem is not None:
            raise CheckpointError(f"{self.store.url}/{name}: {problem}")
        return found


def described(run: Run) -> dict[str, Any]:
    """A run in JSON, from which another process opens it with `followed_run`."""
    said: dict[str, Any] = {"run": str(run.folder.absolute())}
    if (run.folder / STORED).exists():
        files = [path for path in run.folder.iterdir() if path.suffix in FOLLOWED and not path.name.startswith(".")]
        said |= {
            "stored": read_table(run.folder / STORED),
            "files": {path.name: path.read_text(encoding="utf-8") for path in files if path.name != RESULT},
        }
    return said


def followed_run(said: dict[str, Any]) -> Run:
    """The run that the first process has described.

    Raises:
        UserError: it is not here, and in no store.
    """
    folder, stored = Path(said["run"]), said.get("stored")
    if stored is None or _is_here(folder, stored):
        return Run.open(folder)
    store = Store(stored["url"])
    target = place_here(FOLDERS["stored"], store)
    with only_builder(private_folder(target.parent)):
        private_folder(target)
        for name, text in said["files"].items():
            if Path(name).name != name:
                raise UserError(f"{store.url} has a file {name!r}, which lies elsewhere")
            write_atomically(target / name, text)
        (target / RESULT).unlink(missing_ok=True)
    if Run.open(target).settings().get("parallel", {}).get("shard"):
        raise UserError(
            f"parallel.shard has each process write its part of {folder}, which this host does not see: set "
            "GPTSMITH_CACHE to a folder on a disk that all hosts see, or leave parallel.shard out"
        )
    return FollowedRun(target, store)


def same_checkpoint(run: Run, find: Callable[[], Checkpoint | None], processes: Processes) -> Checkpoint | None:
    """The checkpoint that the first process finds, as this one reads it. All processes must call this.

    Raises:
        UserError: it cannot be found or read.
    """

    def found() -> tuple[int, str] | None:
        one = find() if processes.is_first else None
        return None if one is None else (one.step, (one.folder / MANIFEST).read_text(encoding="utf-8"))

    step_and_manifest = processes.all_gather_made(found)[0]
    if step_and_manifest is None:
        return None
    step, manifest = step_and_manifest
    if isinstance(run, FollowedRun):
        return run.fetched(step, manifest)
    return Checkpoint(run.checkpoints / f"step-{step:09d}", step)


def figures_of(place: str) -> dict[str, Any] | None:
    """The figures of the run in a folder or at a URL; None if it has not ended.

    Raises:
        UserError: they cannot be read.
    """
    if not is_remote(place):
        return Run(Path(place)).result() if has_ended(Path(place)) else None
    store = Store(place)
    try:
        figures: dict[str, Any] = parse_json(store.read(RESULT).decode("utf-8"))
    except NoObjectError:
        return None
    steps = [name.split("/")[1] for name in store.names(CHECKPOINTS) if name.endswith(f"/{MANIFEST}")]
    return figures if f"step-{int(figures.get('step') or 0):09d}" >= max(steps, default="") else None


def _is_here(folder: Path, stored: dict[str, Any]) -> bool:
    """Whether a folder is the one that is trained, which another host's of the same name is not."""
    try:
        return read_table(folder / STORED) == stored
    except UserError:
        return False


def _holds(store: Store, name: str, content: str) -> bool:
    try:
        return store.read(name) == content.encode("utf-8")
    except NoObjectError:
        return False
