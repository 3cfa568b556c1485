"""From a trained model and examples of a task to a model of that task."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.base.hints import shell_command
from gptsmith.base.layers import layered
from gptsmith.base.settings import with_assignments
from gptsmith.base.verbs import verb
from gptsmith.convert.hub import on_the_hub, require_out
from gptsmith.run.folder import PLAN, SETTINGS, Run
from gptsmith.run.publish import model_name
from gptsmith.run.writer import claimed, only_writer
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.finetuning import FinetuningJob, prepare_job
from gptsmith.train.planning.finetuning_plan import plan_finetuning
from gptsmith.train.planning.recorded_plan import RecordedPlan
from gptsmith.train.private.trainer import new_trainer
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.resolve import given_layers
from gptsmith.train.resume import chosen_folder, is_resumable, numbered, require_fixed_settings, require_same_data
from gptsmith.train.run_settings import FinetuneSettings
from gptsmith.train.search.trials import search_plan
from gptsmith.train.trainer import Trainer
from gptsmith.train.trust import trusting, without_known_code


@verb(FinetuneRequest, "base", "sources")
def finetune(request: FinetuneRequest) -> dict[str, Any]:
    """Tune a trained model on examples of a task, into a run folder of its own. The same call again resumes a run that
    has not ended.

    Returns:
        the figures of `pretrain` that are known here: validation_loss is the objective's; with test_loss and whatever
        else the objective measures (test_accuracy, test_reward), and bits per byte of the base's own validation text
        before and after (general_bits_per_byte_before, general_bits_per_byte), and how many of the base's own answers
        to general questions are kept (num_general_answers, num_general_answers_kept).

    Raises:
        UserError: a run, an example or a setting cannot be used; nothing is left half-written.
    """
    started = time.monotonic() if request.started is None else request.started
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("finetune trains in one process: leave torchrun out")
    with ExitStack() as held, more_callbacks(*request.callbacks), trusting(request.settings):
        if request.resume is not None:
            return _resumed(Run.open(request.resume), request, held, started)
        require_out(request.base, request.out)
        # A run names a base that stays where it is and what it is.
        request = request.model_copy(update={"base": str(on_the_hub(request.base) or request.base)})
        folder = _folder(request)
        if folder is not None and (folder / SETTINGS).exists():
            return _resumed(Run.open(folder), request.model_copy(update={"settings": []}), held, started)
        table = requested_table(request)
        if request.trials is not None:
            return _searched(table, folder, request, started)
        job = prepare_job(table, request.reward)
        planned = None
        if not job.is_private:  # a measured step of private data would tell of it
            planned = plan_finetuning(job, table.get("train", {}), started)
            job = planned.job
        for line in [*job.found(), *([] if planned is None else planned.advice)]:
            note(line, "yellow")
        folders = [folder] if folder is not None else _folders(request, job)
        run = Run.create(held.enter_context(claimed(folders)), job.settings, FinetuneSettings)
        job.write(run)
        if planned is not None:
            write_json(run.folder / PLAN, planned.table())
        return _trainer(run, job).fit(started)


def requested_table(request: FinetuneRequest) -> dict[str, Any]:
    """The settings that a request spells out, and the request itself."""
    return layered(given_layers(request), FinetuneSettings).values


def _folder(request: FinetuneRequest) -> Path | None:
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


def _folders(request: FinetuneRequest, job: FinetuningJob) -> Iterable[Path]:
    """The folders beside the base that are named after it and the objective, in the order in which they are taken."""
    base = Path(request.base)
    named = base.resolve().with_name(f"{model_name(base)}-{job.settings.train.objective.kind}")
    return (base.parent / folder.name for folder in numbered(named))


def _trainer(run: Run, job: FinetuningJob) -> Trainer:
    return new_trainer(run, job.settings, job.dataset, model=job.model)


def _searched(table: dict[str, Any], folder: Path | None, request: FinetuneRequest, started: float) -> dict[str, Any]:
    """The figures of a new run whose hyperparameters are searched."""
    from gptsmith.train.search.search import begin_search, search

    job = prepare_job(table, request.reward, final_evaluations=False)
    folder = folder or next(folder for folder in _folders(request, job) if not folder.exists())
    return search(begin_search(folder, table, job), request.reward, started)


def _resumed(run: Run, request: FinetuneRequest, held: ExitStack, started: float) -> dict[str, Any]:
    """The figures of a run that continues where it stopped.

    Raises:
        UserError: it cannot be resumed, or not with these changes.
    """
    if search_plan(run.folder) is None or run.result() is not None:
        return _resumed_trainer(run, request, held).fit(started)
    if without_known_code(request.settings, run.settings(), run.paths.located):
        raise UserError(f"the search of {run.folder} keeps its original settings: leave out --set")
    from gptsmith.train.search.search import search

    return search(run, request.reward, started)


def _resumed_trainer(run: Run, request: FinetuneRequest, held: ExitStack) -> Trainer:
    """A trainer that continues where a run stopped.

    Raises:
        UserError: the run has ended, its examples or a fixed setting have changed, or no checkpoint is whole.
    """
    held.enter_context(only_writer(run.folder))
    if run.made_by != "finetune":
        raise UserError(
            f"{run.folder} was not fine-tuned: resume it with {shell_command('pretrain', '--resume', run.folder)}"
        )
    before = FinetuneSettings.parse(run.settings(), str(run.folder / SETTINGS))
    if run.result() is not None:
        raise UserError(
            f"{run.folder} is finished: fine-tune it further with {shell_command('finetune', run.folder, 'DATA')}"
        )
    changes = without_known_code(request.settings, before.plain(), run.paths.located)
    table = with_assignments(before.plain(), changes)
    checkpoint = run.newest(note)
    if checkpoint is not None:
        require_fixed_settings(run, FinetuneSettings.parse(table, str(run.folder / SETTINGS)), checkpoint)
    job = prepare_job(table, request.reward, paths=run.paths)
    require_same_data(run, job.data)
    RecordedPlan(run).record_change(0 if checkpoint is None else checkpoint.step, job.settings)
    run.write_settings(job.settings.plain())
    trainer = _trainer(run, job)
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer
