"""Checkpoints on disk: published whole, verified by hash, the newest good one found. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.errors import CheckpointError, one_line, shown
from gptsmith.base.files import published_folder, read_table, remove_folder, sha256_of
from gptsmith.base.json_text import json_text
from gptsmith.run.documents import FileRecord, FrozenDocument, ManifestDocument
from gptsmith.run.train_state import TrainState
from gptsmith.run.upgrade import (
    DOCUMENTS,
    FORMAT_VERSION,
    NEWEST_FORMAT_VERSION,
    PARTS_FORMAT_VERSION,
    SPLIT_FORMAT_VERSION,
    upgrading,
)

CHECKPOINTS = "checkpoints"
MANIFEST = "MANIFEST.json"
MODEL, TRAIN_STATE, SETTINGS, ENVIRONMENT = "model.json", "train_state.json", "settings.json", "environment.json"
WEIGHTS, OPTIMIZER, RANDOMNESS = "model.safetensors", "optimizer.safetensors", "randomness.safetensors"
FROZEN, FROZEN_WEIGHTS = "frozen.json", "frozen.safetensors"
NAME = re.compile(r"step-(\d{9})")
PART = re.compile(r"-\d{5}-of-\d{5}\.safetensors")
"""The end of the name of a file that one of several processes wrote."""


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint folder."""

    folder: Path
    step: int

    def problem(self, *, by_hash: bool = True) -> str | None:
        """The fault of it, every byte compared with its manifest, or only the sizes; None if it is whole."""
        try:
            manifest = self._manifest()
            if manifest["format_version"] > NEWEST_FORMAT_VERSION:
                return (
                    f"it was written by a newer version (format {manifest['format_version']}, "
                    f"known: {NEWEST_FORMAT_VERSION})"
                )
            for name, recorded in manifest["files"].items():
                if Path(name).name != name or name in ("", ".", ".."):
                    return f"its manifest names {shown(name)}, which is no file in it"
                path = self.folder / name
                if path.stat().st_size != recorded["bytes"]:
                    return f"{name} has {path.stat().st_size} bytes, not {recorded['bytes']}"
                if by_hash and sha256_of(path) != recorded["sha256"]:
                    return f"{name} is damaged: its SHA-256 is not the recorded one"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{type(error).__name__}: {one_line(error)}"
        return None

    def model(self) -> dict[str, Any]:
        """The shape of its model, as settings."""
        return dict(self._read(MODEL))

    def settings(self) -> dict[str, Any]:
        """The content of the run's run.toml when it was written."""
        return dict(self._read(SETTINGS))

    def environment(self) -> dict[str, Any]:
        """Everything that its numbers depend on besides the settings."""
        return dict(self._read(ENVIRONMENT))

    def train_state(self) -> TrainState:
        """The state of training."""
        table = self._read(TRAIN_STATE)
        return TrainState.checked(table, self.folder / TRAIN_STATE)

    def files(self, name: str) -> list[Path]:
        """The file of tensors of that name, or those that several processes wrote of it."""
        whole = self.folder / name
        return part_files(whole) or [whole]

    @property
    def is_in_parts(self) -> bool:
        """Whether several processes wrote it, each its shards."""
        return bool(part_files(self.folder / WEIGHTS))

    def frozen(self) -> dict[str, Any] | None:
        """Bytes and SHA-256 of each of the run's files of frozen weights, by name; None if the checkpoint holds all
        weights itself."""
        path = self.folder / FROZEN
        if not path.exists():
            return None
        table = self._json(FROZEN)
        if "files" not in table:
            return {FROZEN_WEIGHTS: FileRecord.checked(table, path, CheckpointError)}
        files: dict[str, Any] = FrozenDocument.checked(table, path, CheckpointError)["files"]
        for name in files:
            if not (name == FROZEN_WEIGHTS or is_part(name, FROZEN_WEIGHTS)):
                raise CheckpointError(f"{path} names {shown(name)}, which is no file of frozen weights")
        return files

    def frozen_files(self) -> list[Path]:
        """The run's files of frozen weights; none if the checkpoint holds all weights itself."""
        return [self.folder.parent / name for name in sorted(self.frozen() or {})]

    @property
    def is_resumable(self) -> bool:
        """Whether training can be resumed from it: it has optimizer state."""
        return all(path.exists() for path in self.files(OPTIMIZER))

    def _read(self, name: str) -> dict[str, Any]:
        """The content of one of its JSON files, under the names of today."""
        content = self._json(name)
        if name not in DOCUMENTS:
            return content
        with upgrading(self.folder / name):
            return DOCUMENTS[name](self._manifest()["format_version"], content)

    def _manifest(self) -> dict[str, Any]:
        return ManifestDocument.checked(self._json(MANIFEST), self.folder / MANIFEST, CheckpointError)

    def _json(self, name: str) -> dict[str, Any]:
        return read_table(self.folder / name)


def part_name(name: str, number: int, count: int) -> str:
    """`model-00001-of-00004.safetensors`: the file of one of several processes, numbered from 0."""
    return f"{name.removesuffix('.safetensors')}-{number + 1:05d}-of-{count:05d}.safetensors"


def is_part(name: str, whole: str) -> bool:
    """Whether a file's name is that of a part of another."""
    stem = whole.removesuffix(".safetensors")
    return name.startswith(stem) and PART.fullmatch(name[len(stem) :]) is not None


def part_files(whole: Path) -> list[Path]:
    """The files that are there of the parts of a file."""
    stem = whole.name.removesuffix(".safetensors")
    return sorted(path for path in whole.parent.glob(f"{stem}-*.safetensors") if is_part(path.name, whole.name))


def file_record(path: Path) -> dict[str, Any]:
    """What a manifest records of a file: its bytes, and their SHA-256."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def publish_checkpoint(
    checkpoints: Path, step: int, fill: Callable[[Path], object], records: Mapping[str, Any] | None = None
) -> Checkpoint:
    """Writes a checkpoint: `fill` puts files into a fresh folder, which gets its manifest and then its name.

    Args:
        records: those of files that are known once the folder is filled.

    Raises:
        CheckpointError: the disk has no room; nothing is left behind, and an older checkpoint of this step stays.
    """
    target = checkpoints / f"step-{step:09d}"
    with published_folder(target, overwrite=True) as folder:
        fill(folder)
        known = dict(records or {})
        others = {path.name: file_record(path) for path in sorted(folder.iterdir()) if path.name not in known}
        files = dict(sorted((known | others).items()))
        version = SPLIT_FORMAT_VERSION if FROZEN in files else FORMAT_VERSION
        if any(is_part(name, WEIGHTS) for name in files):
            version = PARTS_FORMAT_VERSION
        manifest = {"format_version": version, "step": step, "files": files}
        (folder / MANIFEST).write_text(json_text(manifest, indent=2) + "\n", encoding="utf-8")
    return Checkpoint(target, step)


def list_checkpoints(checkpoints: Path) -> list[Checkpoint]:
    """All published checkpoints, newest first, not yet verified."""
    if not checkpoints.is_dir():
        return []
    named = ((path, NAME.fullmatch(path.name)) for path in checkpoints.iterdir())
    return sorted((Checkpoint(path, int(m[1])) for path, m in named if m), key=lambda c: c.step, reverse=True)


def first_good(
    candidates: Iterable[Checkpoint], where: Path, warn: Callable[[str], None], *, by_hash: bool = True
) -> Checkpoint:
    """The first of `candidates` that is whole, by its bytes or only by its sizes; says which ones are not.

    Raises:
        CheckpointError: none is whole, or there is none.
    """
    bad = 0
    for checkpoint in candidates:
        problem = checkpoint.problem(by_hash=by_hash)
        if problem is None:
            return checkpoint
        bad += 1
        warn(f"{checkpoint.folder.name} is skipped: {problem}")
    raise CheckpointError(f"{where} has no checkpoint that can be read" + (f" ({bad} damaged)" if bad else ""))


def set_aside(checkpoint: Checkpoint, reason: str) -> Path:
    """Takes a checkpoint out of the row: it is renamed to `.REASON-step-...`, and nothing of it is deleted."""
    name = f".{reason}-{checkpoint.folder.name}"
    free = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    target = next(path for path in (checkpoint.folder.with_name(name) for name in free) if not path.exists())
    checkpoint.folder.replace(target)
    return target


class Retention:
    """Deletes checkpoints that are no longer needed, counting only those whose bytes it has verified."""

    def __init__(self, keep: int, keep_every_steps: int | None = None) -> None:
        self.keep, self.keep_every_steps = keep, keep_every_steps
        self.verified: set[int] = set()

    def apply(self, checkpoints: Path, best_step: int | None) -> None:
        """Deletes all but the newest `keep` good checkpoints, the best one, and one every so many steps."""
        good = 0
        for checkpoint in list_checkpoints(checkpoints):
            if checkpoint.step not in self.verified and good < self.keep:
                if checkpoint.problem() is not None:
                    continue
                self.verified.add(checkpoint.step)
            good += 1
            milestone = self.keep_every_steps and checkpoint.step % self.keep_every_steps == 0
            if good > self.keep and checkpoint.step != best_step and not milestone:
                remove_folder(checkpoint.folder)
