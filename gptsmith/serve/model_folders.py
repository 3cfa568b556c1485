"""Folders of models that are served: what is in them now, whatever comes, changes or goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.convert.adapters import is_adapter_folder
from gptsmith.convert.gguf_header import gguf_in, shard_names
from gptsmith.convert.open import open_model
from gptsmith.run.folder import SETTINGS
from gptsmith.serve.load import LoadedRun, ModelDescription, Stamps, describe, load_run, stamps_of
from gptsmith.serve.log import log_failure

MAX_DEPTH = 2
"""How many folders may lie between a folder of models and one of them, as `owner/name/model.gguf`."""
NUM_TRIES = 2
"""A run that is being trained may lose a checkpoint while it is read."""


def split_folders(given: Sequence[str | Path]) -> tuple[list[str | Path], list[Path]]:
    """The models among some paths, and the folders of models: those that are no model themselves and hold some."""
    models: list[str | Path] = []
    folders: list[Path] = []
    for one in given:
        path = Path(one)
        holds_models = path.is_dir() and not _is_one(path) and next(model_paths(path), None) is not None
        folders.append(path) if holds_models else models.append(one)
    return models, folders


def model_paths(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """What looks like a model in a folder, or in the folders in it."""
    children: list[Path] = []
    with suppress(OSError):  # it is gone, or not for us
        children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    for child in children:
        if child.is_dir():
            if _is_one(child):
                yield child
            elif depth:
                yield from model_paths(child, depth - 1)
        elif child.suffix == ".gguf" and child.name == shard_names(child)[0]:
            yield child


def _is_one(folder: Path) -> bool:
    """Whether a folder is one model, or is meant to be."""
    if (folder / SETTINGS).exists() or (folder / "config.json").exists() or is_adapter_folder(folder):
        return True
    try:
        has_file = gguf_in(folder) is not None
    except UserError:  # it has several
        return False
    return has_file and not any(child.is_dir() and _is_one(child) for child in folder.iterdir())


@dataclass
class ModelFolders:
    """Folders of models, which are looked at when it is made, too. A model is described without its weights, and anew
    only where its files have changed.

    Attributes:
        in_background: whether they are first looked at in a thread, so that nobody waits for a large folder; until then
            nothing is found.
        found: the models by name, as they were when they were looked at last.
        problems: by name, why something that looks like a model is not served.
    """

    folders: Sequence[Path]
    device: str = "auto"
    dtype: str = "auto"
    with_prompts: bool = False
    in_background: bool = False
    found: dict[str, ModelDescription] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    _seen: dict[Path, tuple[Stamps, ModelDescription | str]] = field(default_factory=dict)

    _scanning: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.in_background:
            threading.Thread(target=self.scan, name="models", daemon=True).start()
        else:
            self.scan()

    def scan(self) -> None:
        """Finds the models of now. It reads files, so that it may take long."""
        with self._scanning:
            self._scan()

    def _scan(self) -> None:
        seen: dict[Path, tuple[Stamps, ModelDescription | str]] = {}
        found: dict[str, ModelDescription] = {}
        problems: dict[str, str] = {}
        for folder in self.folders:
            for path in model_paths(folder):
                name = _name(path, folder)
                stamps = stamps_of(_watched(path))
                known = self._seen.get(path)
                about = known[1] if known is not None and known[0] == stamps else self._described(name, path)
                seen[path] = stamps, about
                if name in found or name in problems:
                    problems[str(path)] = f"another model is called {name} too"
                elif isinstance(about, str):
                    problems[name] = about
                else:
                    found[name] = about
        self._seen, self.found, self.problems = seen, found, problems

    def load(self, about: ModelDescription) -> LoadedRun:
        """One of the models as it is now, with its weights.

        Raises:
            UserError: they cannot be read.
        """
        return load_run(about.name, about.path, device=self.device, dtype=self.dtype, with_prompts=self.with_prompts)

    def _described(self, name: str, path: Path) -> ModelDescription | str:
        """The description of a model; if it has none, the reason."""
        reason = ""
        for _ in range(NUM_TRIES):
            try:
                return describe(name, open_model(path, by_hash=False), with_prompts=self.with_prompts)
            except Exception as error:
                reason = reason_of(error, path, name)
        return reason


def reason_of(error: Exception, path: Path, name: str) -> str:
    """An error for clients, who know a model by its name and not by its place; one that is our own fault says nothing
    but that it is."""
    if isinstance(error, UserError):
        return str(error).replace(str(path), name)
    log_failure(error)
    return f"{name} cannot be read: see the log of the server"


def _name(path: Path, folder: Path) -> str:
    """The path within the folder, as people write it; without `.gguf`."""
    return path.relative_to(folder).as_posix().removesuffix(".gguf")


def _watched(path: Path) -> Iterator[Path]:
    """The files and folders whose sizes and times change with a model."""
    yield path
    if not path.is_dir():
        yield from (path.with_name(name) for name in shard_names(path))
        return
    with suppress(OSError):
        for child in path.iterdir():
            yield child
            if child.is_dir():
                yield from child.iterdir()
