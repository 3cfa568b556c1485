"""From a trained model and examples of a task to a model of that task."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.convert.hub import on_the_hub, require_out
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.distributed import Processes, init_process_group
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.store.objects import is_remote
from gptsmith.train.agree import agree, ended_before
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.finetuning import prepare_job
from gptsmith.train.remote import trained_here, uploaded_before
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.search.trials import search_plan
from gptsmith.train.trust import trusting, without_known_code
from gptsmith.train.tuning_start import (
    TuningStart,
    folder_of,
    folders_beside,
    following_tuning,
    new_tuning,
    requested_table,
    resumed_tuning,
)


@verb(FinetuneRequest, "base", "sources")
def finetune(request: FinetuneRequest) -> dict[str, Any]:
    """Tune a trained model on examples of a task, into a run folder of its own. The same call again resumes a run that
    has not ended. If torchrun started several processes, each of them calls this, and they tune one model together.

    Returns:
        the figures of `pretrain` that are known here: validation_loss is the objective's; with test_loss and whatever
        else the objective measures (test_accuracy, test_reward), and bits per byte of the base's own validation text
        before and after (general_bits_per_byte_before, general_bits_per_byte), and how many of the base's own answers
        to general questions are kept (num_general_answers, num_general_answers_kept).

    Raises:
        UserError: a run, an example or a setting cannot be used; nothing is left half-written.
    """
    started = time.monotonic() if request.started is None else request.started
    if request.ray is not None:
        from gptsmith.cluster.training import train_on_ray

        return train_on_ray(finetune, request, started)
    with (
        init_process_group() as processes,
        ExitStack() as held,
        more_callbacks(*request.callbacks),
        trusting(request.settings),
    ):
        if _is_search(request):
            if processes.world_size > 1:
                raise UserError("trials run one by one, each in one process: leave torchrun out")
            return _searched(request, started)
        if (figures := ended_before(processes) or uploaded_before(request, processes)) is not None:
            return figures

        def begin() -> TuningStart:
            return _begun(trained_here(request, held), processes, held, started)

        def follow(run: Run, checkpoint: Checkpoint | None) -> TuningStart:
            return following_tuning(run, checkpoint, request.reward, processes)

        return agree(begin, follow, processes).trainer(processes).fit(started)


def _begun(request: FinetuneRequest, processes: Processes, held: ExitStack, started: float) -> TuningStart:
    """The start of what is requested: a new run, or the run that `resume` names or that the same request began."""
    if request.resume is not None:
        return resumed_tuning(Run.open(request.resume), request, processes, held)
    request = _pinned(request)
    folder = folder_of(request)
    if folder is not None and (folder / SETTINGS).exists():
        begun = request.model_copy(update={"settings": []})
        return resumed_tuning(Run.open(folder), begun, processes, held)
    return new_tuning(request, folder, processes, held, started)


def _pinned(request: FinetuneRequest) -> FinetuneRequest:
    """The request with a base that stays where it is and what it is."""
    require_out(request.base, request.out)
    if is_remote(request.base):  # found again from everywhere, and by its own manifests
        return request
    return request.model_copy(update={"base": str(on_the_hub(request.base) or request.base)})


def _is_search(request: FinetuneRequest) -> bool:
    """Whether hyperparameters are to be searched."""
    if is_remote(request.out if request.resume is None else request.resume):
        if request.trials is not None:
            raise UserError("trials are made in a folder here: with --trials, give --out a folder")
        return False
    if request.resume is None:
        return request.trials is not None
    run = Run.open(request.resume)
    return search_plan(run.folder) is not None and run.result() is None


def _searched(request: FinetuneRequest, started: float) -> dict[str, Any]:
    """The figures of a run whose hyperparameters are searched: a new one, or one that continues.

    Raises:
        UserError: it cannot be resumed with these changes.
    """
    from gptsmith.train.search.search import begin_search, search

    if request.resume is not None:
        run = Run.open(request.resume)
        if without_known_code(request.settings, run.settings(), run.paths.located):
            raise UserError(f"the search of {run.folder} keeps its original settings: leave out --set")
        return search(run, request.reward, started)
    request = _pinned(request)
    folder = folder_of(request)
    if folder is not None and (folder / SETTINGS).exists():
        return search(Run.open(folder), request.reward, started)
    table = requested_table(request)
    job = prepare_job(table, request.reward, final_evaluations=False)
    folder = folder or next(folder for folder in folders_beside(request, job) if not folder.exists())
    return search(begin_search(folder, table, job), request.reward, started)
