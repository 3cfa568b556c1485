"""A run's folder and what is in it."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import tomli_w

from gptsmith.base.console import note
from gptsmith.base.errors import CheckpointError, GptsmithError, UserError, one_line, shown
from gptsmith.base.files import read_json, read_table, require_writable, write_atomically, write_json, writing
from gptsmith.base.hints import shell_command
from gptsmith.base.outside import RecordedImport, imported_files
from gptsmith.base.runlog import RunLog
from gptsmith.base.settings import Settings, read_toml
from gptsmith.run.checkpoint import (
    CHECKPOINTS,
    WEIGHTS,
    Checkpoint,
    first_good,
    list_checkpoints,
    set_aside,
)
from gptsmith.run.documents import DataDocument, PlanDocument, ResultDocument, SettingsDocument
from gptsmith.run.lineage import HasLineage
from gptsmith.run.upgrade import FORMAT_VERSION, derived_from, plan_from, result_from, settings_from, upgrading
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer

SETTINGS = "run.toml"
IMPORTS = "imports.json"
MAX_PATH_CHARACTERS = 400
SCHEMA = "run.schema.json"
DATA = "data.json"
PLAN = "plan.json"
RESULT = "result.json"
COMPRESSION = "compression.json"
"""What was tried on the way to a compressed run, and what it writes beside what the original wrote."""
INSIDE = "inside.json"
"""What was found inside its model."""
GENERATION = "generation_config.json"
LOCK = ".lock"
"""The file that a run's only writer locks."""
STORED = ".stored.json"
"""The URL of a run that is trained here for a store, and the number of the lock that its last writer here had."""
PRIVATE_KEY = "private.key"
"""The key of the noise of private training, which leaves this folder for no other place."""


class Run(HasLineage):
    """A run folder. It can be moved and copied: what it names is found again (see `gptsmith.run.paths`).

    run.toml             the request and every setting that it led to
    imports.json         the files whose kinds it was made with, if --import named any
    run.schema.json      the settings that run.toml may hold, for editors
    tokenizer.json       the tokenizer, with tokenizer_config.json beside it
    chat_template.jinja  the chat template of a model for conversations
    generation_config.json  the sampling defaults that came with a model
    paths.json           where it was made, to find the files that it names
    data.json            the data that was read and skipped
    plan.json            the prediction before the run, and what it came to
    metrics.jsonl        every figure, sample and event
    result.json          the figures at the end
    privacy_claim.json   before that, what a run that is trained privately promises
    checkpoints/frozen.safetensors  weights below adapters, once for all checkpoints
    checkpoints/step-…/  weights, optimizer, counters and randomness, with a manifest of hashes
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / CHECKPOINTS
        self.log = RunLog(folder / "metrics.jsonl")

    @property
    def place(self) -> str:
        """What commands name it by: its URL where it is trained for a store, else its folder."""
        stored = self.folder / STORED
        return str(read_table(stored)["url"]) if stored.exists() else str(self.folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """An existing run.

        Raises:
            CheckpointError: the folder is missing, is no run, or comes from a newer version.
        """
        run = cls(Path(folder))
        if not run.folder.is_dir():
            raise CheckpointError(f"{folder}: there is no such run ({shell_command('runs')} lists them)")
        if not (run.folder / SETTINGS).is_file():
            raise CheckpointError(f"{folder} is not a run folder: it holds no {SETTINGS}")
        run.settings()
        run._require_imports()
        return run

    def _require_imports(self) -> None:
        """Checks that the files whose kinds the run was made with were named in this process too: what a run names is
        code, which is never run because the run names it.

        Raises:
            CheckpointError: one was not.
        """
        if not (self.folder / IMPORTS).exists():
            return
        known, recorded = imported_files(), read_json(self.folder / IMPORTS)
        if not isinstance(recorded, list):
            raise CheckpointError(f"{self.folder / IMPORTS} is damaged: it is no list")
        for entry in recorded:
            given = RecordedImport.parse(entry, str(self.folder / IMPORTS))
            path, sha256 = one_line(given.path, MAX_PATH_CHARACTERS), given.sha256
            named = [file for file in known if file.sha256 == sha256 or file.path.name == Path(given.path).name]
            if not named:
                raise CheckpointError(
                    f"{self.folder} was made with the kinds of {path}, which is a program: if you trust it, "
                    f"name it with --import {shlex.quote(path)}"
                )
            if all(file.sha256 != sha256 for file in named):
                note(f"{named[0].path} is not what {self.folder} was made with: it has changed", "yellow")

    @classmethod
    def create(cls, folder: Path, settings: Settings | dict[str, Any], schema: type[Settings]) -> Run:
        """A new run with these settings, and the JSON Schema of `schema` for editors.

        Its folder is for its owner alone, because it holds texts of people; what is in it has the modes of the umask.

        Raises:
            CheckpointError: the folder exists and is not empty.
            UserError: it cannot be written.
        """
        require_free(folder)
        with writing(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = cls(folder)
        run.paths.record()
        if imported := imported_files():
            found = [RecordedImport(path=str(file.path), sha256=file.sha256).plain() for file in imported]
            write_json(folder / IMPORTS, found)
        write_json(folder / SCHEMA, schema_of(schema))
        run.write_settings(settings.plain() if isinstance(settings, Settings) else settings)
        return run

    def settings(self) -> dict[str, Any]:
        """The content of run.toml, under the names of today.

        Raises:
            CheckpointError: it cannot be read, or was written by a newer version.
        """
        version, settings = _read_settings(self.folder / SETTINGS)
        result = None
        with suppress(UserError):  # a result that cannot be read is for those who want it
            result = self.result()
        path = self.folder / SETTINGS
        with upgrading(path):
            settings = derived_from(version, settings, result or {})
        return SettingsDocument.checked(settings, path, CheckpointError)

    def plan(self) -> dict[str, Any]:
        """The plan, `predicted` before the run and `actual` after it; empty if there is none.

        Raises:
            UserError: it cannot be read.
        """
        path = self.folder / PLAN
        if not path.exists():
            return {}
        with upgrading(path):
            return PlanDocument.checked(plan_from(read_table(path)), path, CheckpointError)

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Writes run.toml."""
        text = tomli_w.dumps({"format_version": FORMAT_VERSION, **settings})
        write_atomically(self.folder / SETTINGS, f"#:schema ./{SCHEMA}\n{text}")

    def result(self) -> dict[str, Any] | None:
        """The figures at the end of the run; None if it has not ended.

        Raises:
            UserError: they cannot be read.
        """
        path = self.folder / RESULT
        if not path.exists():
            return None
        with upgrading(path):
            return ResultDocument.checked(result_from(read_table(path)), path, CheckpointError)

    def base_folder(self) -> Path | None:
        """The folder whose weights it was made from, where it lies now, or else where its name leads to from here; None
        if there is none.

        Raises:
            UserError: its settings or its result cannot be read.
        """
        base = self.lineage()[0].base or (self.result() or {}).get("made_from")
        if not base:
            return None
        with suppress(CheckpointError):
            base = self.paths.located(base)
        try:
            return Path(os.path.realpath(base))
        except ValueError:  # a zero byte in the name
            return Path(one_line(base, MAX_PATH_CHARACTERS))

    def data(self) -> dict[str, Any]:
        """The summary of the data that it was trained on: the content of data.json.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        path = self.folder / DATA
        return DataDocument.checked(read_table(path, with_names=True), path, CheckpointError)

    def generation(self) -> dict[str, Any]:
        """The sampling defaults; empty if there are none."""
        path = self.folder / GENERATION
        return read_table(path) if path.exists() else {}

    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return load_tokenizer(self.folder)

    def template(self) -> ChatTemplate | None:
        """The run's chat template; None if the model is not made for conversations."""
        return ChatTemplate.load(self.folder)

    def files(self, checkpoint: Checkpoint) -> list[Path]:
        """The files that its model is made of at a checkpoint: weights and tokenizer."""
        return [*checkpoint.files(WEIGHTS), *checkpoint.frozen_files(), self.folder / "tokenizer.json"]

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole, damaged newer ones set aside; None if there never was one.

        Only for the process that trains the run.

        Raises:
            CheckpointError: there were checkpoints, and none is whole; or it has weights only, and cannot be trained.
        """
        for checkpoint in list_checkpoints(self.checkpoints):
            problem = checkpoint.problem()
            if problem is None:
                if not checkpoint.is_resumable:
                    raise CheckpointError(
                        f"{self.folder} has weights but no optimizer state, so its training cannot be resumed: "
                        f"continue with {(self.result() or {}).get('made_from', 'the run that it was made from')}"
                    )
                return checkpoint
            warn(f"{checkpoint.folder.name} is set aside as {set_aside(checkpoint, 'bad').name}: {problem}")
        if damaged := list(self.checkpoints.glob(".bad-*")):
            raise CheckpointError(f"{self.folder} has no checkpoint that can be read ({len(damaged)} damaged)")
        return None

    def best(self, warn: Callable[[str], None], *, by_hash: bool = True) -> Checkpoint:
        """The whole checkpoint with the lowest validation loss; the newest if none was measured. `by_hash` False
        compares sizes only, which is enough where the weights are not read."""
        return first_good(best_first(list_checkpoints(self.checkpoints)), self.folder, warn, by_hash=by_hash)


def best_first(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Checkpoints in the order of their validation loss, the lowest first; those that were not measured stay behind."""

    def rank(checkpoint: Checkpoint) -> tuple[float, bool]:
        try:
            state = checkpoint.train_state()
        except UserError:
            return float("inf"), True
        # A checkpoint between two evaluations carries the loss of the earlier one, which is not its own.
        inherited = state.validation_step != checkpoint.step
        return (float("inf"), True) if state.validation_loss is None else (float(state.validation_loss), inherited)

    return sorted(checkpoints, key=rank)


def schema_of(settings: type[Settings]) -> dict[str, Any]:
    """The JSON Schema of a run.toml with these settings, and with the kinds that are known now."""
    return _schema_with(settings, tuple(file.sha256 for file in imported_files()))


@functools.cache
def _schema_with(settings: type[Settings], imported: tuple[str, ...]) -> dict[str, Any]:
    schema = settings.model_json_schema()
    schema.setdefault("properties", {})["format_version"] = {"type": "integer"}
    return schema


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a run.toml of any version, or in a file of settings without a version, under the names of today.

    Raises:
        CheckpointError: it cannot be read, or was written by a newer version.
    """
    return _read_settings(path)[1]


def _read_settings(path: Path) -> tuple[int, dict[str, Any]]:
    settings = read_toml(path)
    version = settings.pop("format_version", FORMAT_VERSION)
    if isinstance(version, bool) or not isinstance(version, int):
        raise CheckpointError(f"{path}: format_version is {shown(version)}, and no number")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {version}, and this version reads up to {FORMAT_VERSION}: upgrade gptsmith"
        )
    with upgrading(path):
        return version, settings_from(version, settings)


def require_free(folder: Path) -> None:
    """Checks that a new run can be made there.

    Raises:
        CheckpointError: the folder exists and is not empty.
        UserError: it cannot be written.
    """
    require_writable(folder)
    if folder.exists() and (not folder.is_dir() or any(path.name not in (LOCK, STORED) for path in folder.iterdir())):
        if not (folder / SETTINGS).is_file():
            raise CheckpointError(f"{folder} exists already and is not a run: choose another --out")
        raise CheckpointError(f"{Run(folder).place} exists already: choose another --out{_how_to_resume(Run(folder))}")


def _how_to_resume(run: Run) -> str:
    """`, or resume it with gptsmith pretrain --resume RUN`, of a run that was trained."""
    with suppress(GptsmithError):
        if (origin := run.lineage()[0]).is_trained and origin.made_by:
            return f", or resume it with {shell_command(origin.made_by, '--resume', run.place)}"
    return ""
