"""The start of a pretraining run, fresh or from its newest checkpoint, the same in all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.assignments import with_assignments
from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import require_writable, write_json
from gptsmith.base.settings import merged
from gptsmith.data.care import brief_audit
from gptsmith.data.care.canaries import read_canaries, write_canaries
from gptsmith.data.example_prompts import beginnings
from gptsmith.data.prepare import PreparedData
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.distributed import Processes
from gptsmith.run.folder import DATA, PLAN, SETTINGS, Run
from gptsmith.run.writer import claimed, only_writer
from gptsmith.train.compilable import require_compilable
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.planning.disk import RunDisk
from gptsmith.train.planning.recorded_plan import RecordedPlan
from gptsmith.train.private.claim import with_noise
from gptsmith.train.private.leaks import refuse_pretraining_leaks
from gptsmith.train.private.trainer import new_trainer
from gptsmith.train.private.units import units_of
from gptsmith.train.request import PretrainRequest
from gptsmith.train.resolve import Resolved, prepared, resolve_settings
from gptsmith.train.resume import chosen_folder, is_resumable, numbered, require_fixed_settings, require_same_data
from gptsmith.train.run_settings import RunSettings
from gptsmith.train.trainer import Trainer


@dataclass(frozen=True)
class Start:
    """The run, settings and data that training starts with, and the checkpoint to continue from, if any."""

    run: Run
    settings: RunSettings
    data: PreparedData
    checkpoint: Checkpoint | None = None

    def trainer(self, processes: Processes) -> Trainer:
        """A trainer that stands where the checkpoint does."""
        model, train = self.settings.model, self.settings.train
        dataset: Dataset = TextDataset(self.data, model.context_length, train.seed, left_out=train.objective.left_out)
        if train.private.is_on:
            dataset = units_of(dataset, train.private.max_unit_tokens)
        trainer = new_trainer(self.run, self.settings, dataset, processes)
        if self.checkpoint is not None:
            trainer.resume(self.checkpoint)
        return trainer


def start_of(request: PretrainRequest, processes: Processes, held: ExitStack) -> Start:
    """The start of what is requested: a new run, or the run that `resume` names or that the same request began.

    Args:
        held: takes the lock of the run's folder.

    Raises:
        UserError: a text, a setting or a folder cannot be used; nothing is left half-written.
    """
    if request.resume is not None:
        run = Run.open(request.resume)
        held.enter_context(only_writer(run.folder))
        return resumed(run, processes, request.tokens, request.target_loss, request.settings)
    folder = _folder(request)
    if (folder / SETTINGS).exists():
        run = Run.open(folder)
        held.enter_context(only_writer(run.folder))
        return resumed(run, processes)
    resolved = resolve_settings(request, processes)
    return fresh(held.enter_context(claimed(_folders(request))), resolved)


def _folders(request: PretrainRequest) -> Iterable[Path]:
    """The requested folder, or those that are named after the text, in the order in which they are taken."""
    if request.out is not None:
        return [Path(request.out)]
    return numbered(Path("runs") / (Path(request.sources[0]).resolve().stem.strip(".*") or "run"))


def _folder(request: PretrainRequest) -> Path:
    """The requested folder, or the first free one that is named after the text; or that of a run which the same
    request began.

    Raises:
        UserError: the requested folder is in use, or cannot be made.
    """
    if request.out is not None:
        return chosen_folder(Path(request.out), request)
    free = next(folder for folder in _folders(request) if not folder.exists() or is_resumable(folder, request))
    require_writable(free)
    return free


def fresh(folder: Path, resolved: Resolved) -> Start:
    """The start of a new run in a folder that this process has claimed.

    Raises:
        UserError: it cannot be written.
    """
    for line in brief_audit.of_corpus(resolved.data.corpus).lines("documents"):
        note(line, "yellow")
    RunDisk.of_shape(resolved.settings.model, resolved.settings).require(folder)
    run = Run.create(folder, resolved.settings, RunSettings)
    _keep_data(run, resolved.data, is_private=resolved.settings.train.private.is_on)
    if resolved.predicted:
        write_json(run.folder / PLAN, resolved.plan())
    return Start(run, resolved.settings, resolved.data)


def resumed(
    run: Run,
    processes: Processes,
    tokens: int | None = None,
    target_loss: float | None = None,
    changes: Sequence[str] = (),
) -> Start:
    """The start of a run that continues: for more tokens, to a lower loss or with other settings, if given.

    Raises:
        UserError: the run has ended, its text or a fixed setting has changed, or no checkpoint is whole.
    """
    checkpoint = run.newest(note)
    table = with_assignments(run.settings(), changes)
    settings = RunSettings.parse(table, str(run.folder / SETTINGS))
    wanted: dict[str, Any] = {}
    if tokens is not None:
        tokens_per_step = settings.train.batch_size * settings.model.context_length
        wanted["num_steps"] = max(1, round(tokens / tokens_per_step))
    if target_loss is not None:
        wanted["target_loss"] = target_loss
    settings = RunSettings.parse(merged(table, {"train": wanted}), str(run.folder / SETTINGS))
    if checkpoint is not None:
        require_fixed_settings(run, settings, checkpoint)
    require_compilable(settings)
    processes.require_share(settings.train.batch_size)
    processes.require_groups(settings.parallel.shard_size)
    data = _data_of(run, settings)
    if settings.train.private.is_on:
        if tokens is not None or target_loss is not None:
            raise UserError(f"{run.place} is private, and its epsilon is for so many steps: give --resume alone")
        refuse_pretraining_leaks(table, settings, processes)
        settings = with_noise(settings, len(data.train.documents))
    if checkpoint is None:
        note(f"{run.place} has no checkpoint yet: it starts from its first step")
        _keep_data(run, data, is_private=settings.train.private.is_on)
    else:
        done = checkpoint.train_state()
        if done.step >= settings.train.num_steps:
            raise UserError(
                f"{run.place} is finished after {done.num_tokens:,} tokens: resume it with --tokens of more than that"
            )
    RecordedPlan(run).record_change(0 if checkpoint is None else checkpoint.step, settings)
    run.write_settings(settings.plain())
    return Start(run, settings, data, checkpoint)


def following(run: Run, checkpoint: Checkpoint | None) -> Start:
    """The start in a process after the first, which has written the run."""
    settings = RunSettings.parse(run.settings())
    return Start(run, settings, _data_of(run, settings), checkpoint)


def _keep_data(run: Run, data: PreparedData, *, is_private: bool) -> None:
    """Writes what a run keeps of its data. Beginnings of private documents are left out."""
    data.tokenizer.save(run.folder)
    write_canaries(run.folder, read_canaries(data.corpus.folder))
    prompts = [] if is_private else beginnings(data.corpus)
    write_json(run.folder / DATA, {**data.summary, "example_prompts": prompts})


def _data_of(run: Run, settings: RunSettings) -> PreparedData:
    """The data that a run began with.

    Raises:
        UserError: its text has changed.
    """
    data = prepared(settings, run)
    require_same_data(run, data.summary)
    return data
