"""The start of a fine-tuning run, fresh or from its newest checkpoint, the same in all processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.assignments import with_assignments
from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.base.hints import shell_command
from gptsmith.base.layers import layered
from gptsmith.base.settings import merged
from gptsmith.model.device import choose_device
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.distributed import ParallelSettings, Processes
from gptsmith.run.folder import PLAN, SETTINGS, Run
from gptsmith.run.publish import model_name
from gptsmith.run.writer import claimed, only_writer
from gptsmith.train.datasets.base import Reward
from gptsmith.train.finetuning import FinetuningJob, prepare_job
from gptsmith.train.planning.disk import RunDisk
from gptsmith.train.planning.finetuning_plan import plan_finetuning
from gptsmith.train.planning.memory import samples_per_pass
from gptsmith.train.planning.recorded_plan import RecordedPlan
from gptsmith.train.private.trainer import new_trainer
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.resolve import given_layers, require_shards
from gptsmith.train.resume import chosen_folder, is_resumable, numbered, require_fixed_settings, require_same_data
from gptsmith.train.run_settings import FinetuneSettings
from gptsmith.train.trainer import Trainer
from gptsmith.train.trust import without_known_code


@dataclass(frozen=True)
class TuningStart:
    """The run and the job that tuning starts with, and the checkpoint to continue from, if any."""

    run: Run
    job: FinetuningJob
    checkpoint: Checkpoint | None = None

    def trainer(self, processes: Processes) -> Trainer:
        """A trainer that stands where the checkpoint does."""
        trainer = new_trainer(self.run, self.job.settings, self.job.dataset, processes, self.job.model)
        if self.checkpoint is not None:
            trainer.resume(self.checkpoint)
        return trainer


def requested_table(request: FinetuneRequest) -> dict[str, Any]:
    """The settings that a request spells out, and the request itself."""
    return layered(given_layers(request), FinetuneSettings).values


def new_tuning(
    request: FinetuneRequest, folder: Path | None, processes: Processes, held: ExitStack, started: float
) -> TuningStart:
    """The start of a new run in a folder, or in one beside the base that is named after it.

    Args:
        held: takes the lock of the run's folder.

    Raises:
        UserError: a model, an example or a setting cannot be used; nothing is left half-written.
    """
    table = requested_table(request)
    given = table.get("train", {})
    require_shards(ParallelSettings.parse(table.get("parallel", {}), "parallel"))
    processes.local_device(choose_device(given.get("device", "auto")))
    job = prepare_job(table, request.reward, num_processes=processes.world_size)
    planned = None
    if is_sharded(job, processes) and job.settings.request.minutes is None:
        job = _with_usual_passes(job, given)  # a step that one process measures may need more memory than it has
    elif not job.is_private:  # a measured step of private data would tell of it
        planned = plan_finetuning(job, given, started)
        job = planned.job
    for line in [*job.found(), *([] if planned is None else planned.advice)]:
        note(line, "yellow")
    job = shared(job, given, processes)
    folders = [folder] if folder is not None else folders_beside(request, job)
    claim = held.enter_context(claimed(folders))
    RunDisk.of_model(job.model, job.settings).require(claim)
    run = Run.create(claim, job.settings, FinetuneSettings)
    job.write(run)
    if planned is not None:
        write_json(run.folder / PLAN, planned.table())
    return TuningStart(run, job)


def shared(job: FinetuningJob, given: Mapping[str, Any], processes: Processes) -> FinetuningJob:
    """A job whose batches the processes can share.

    Raises:
        UserError: they cannot share a batch of the given size, or the job is for one process.
    """
    if processes.world_size == 1:
        return job
    settings = job.settings
    if job.is_private:
        raise UserError("--private trains in one process: leave torchrun out")
    if "batch_size" not in given:
        size = math.ceil(settings.train.batch_size / processes.world_size) * processes.world_size
        settings = FinetuneSettings.parse(merged(settings.plain(), {"train": {"batch_size": size}}))
        job = job.with_settings(settings)
    processes.require_share(settings.train.batch_size)
    processes.require_groups(settings.parallel.shard_size)
    return job


def is_sharded(job: FinetuningJob, processes: Processes) -> bool:
    """Whether processes share the model of a job."""
    return processes.world_size > 1 and job.settings.parallel.shard


def _with_usual_passes(job: FinetuningJob, given: Mapping[str, Any]) -> FinetuningJob:
    """A job with micro-batches of the usual size."""
    if "micro_batch_size" in given:
        return job
    size = samples_per_pass(job.model.config, job.dataset.longest_sample)
    return job.with_settings(
        FinetuneSettings.parse(merged(job.settings.plain(), {"train": {"micro_batch_size": size}}))
    )


def folder_of(request: FinetuneRequest) -> Path | None:
    """The folder that is requested; else one beside the base that the same request began and that has not ended; None
    if a new one is to be chosen.

    Raises:
        UserError: the requested folder is in use.
    """
    if request.out is not None:
        return chosen_folder(Path(request.out), request)
    base = Path(request.base)
    return next(
        (
            path
            for path in sorted(base.parent.glob(f"{base.name.removesuffix('.gguf')}-*"))
            if is_resumable(path, request)
        ),
        None,
    )


def folders_beside(request: FinetuneRequest, job: FinetuningJob) -> Iterable[Path]:
    """The folders beside the base that are named after it and the objective, in the order in which they are taken."""
    base = Path(request.base)
    named = base.resolve().with_name(f"{model_name(base)}-{job.settings.train.objective.kind}")
    return (base.parent / folder.name for folder in numbered(named))


def resumed_tuning(run: Run, request: FinetuneRequest, processes: Processes, held: ExitStack) -> TuningStart:
    """The start of a run that continues where it stopped.

    Raises:
        UserError: the run has ended, its examples or a fixed setting have changed, or no checkpoint is whole.
    """
    held.enter_context(only_writer(run.folder))
    if run.made_by != "finetune":
        raise UserError(
            f"{run.place} was not fine-tuned: resume it with {shell_command('pretrain', '--resume', run.place)}"
        )
    before = FinetuneSettings.parse(run.settings(), str(run.folder / SETTINGS))
    if run.result() is not None:
        raise UserError(
            f"{run.place} is finished: fine-tune it further with {shell_command('finetune', run.place, 'DATA')}"
        )
    changes = without_known_code(request.settings, before.plain(), run.paths.located)
    table = with_assignments(before.plain(), changes)
    checkpoint = run.newest(note)
    if checkpoint is not None:
        require_fixed_settings(run, FinetuneSettings.parse(table, str(run.folder / SETTINGS)), checkpoint)
    job = _job_of(run, table, request.reward, processes)
    require_same_data(run, job.data)
    job = shared(job, table["train"], processes)
    RecordedPlan(run).record_change(0 if checkpoint is None else checkpoint.step, job.settings)
    run.write_settings(job.settings.plain())
    return TuningStart(run, job, checkpoint)


def following_tuning(
    run: Run, checkpoint: Checkpoint | None, reward: Reward | None, processes: Processes
) -> TuningStart:
    """The start in a process after the first, which has written the run.

    Raises:
        UserError: the examples here are others.
    """
    job = _job_of(run, run.settings(), reward, processes)
    require_same_data(run, job.data)
    return TuningStart(run, job, checkpoint)


def _job_of(run: Run, table: dict[str, Any], reward: Reward | None, processes: Processes) -> FinetuningJob:
    processes.local_device(choose_device(table["train"]["device"]))
    return prepare_job(table, reward, paths=run.paths, num_processes=processes.world_size)
