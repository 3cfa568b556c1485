"""Hyperparameter search: trials find the best settings on validation data, and the best trial is the result."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gptsmith.base.console import Meter, hushed, meter, note, styled
from gptsmith.base.errors import UserError
from gptsmith.base.files import PlaceTakenError, published_folder, write_atomically, write_json, writing
from gptsmith.base.hints import shell_command
from gptsmith.data.summary import differences, is_same_data
from gptsmith.run.checkpoint import CHECKPOINTS
from gptsmith.run.contents import load_weights
from gptsmith.run.folder import RESULT, Run, require_free
from gptsmith.run.writer import only_writer
from gptsmith.train.callbacks import default_callbacks
from gptsmith.train.datasets.base import Reward
from gptsmith.train.finetuning import FinetuningJob, prepare_job
from gptsmith.train.report import report
from gptsmith.train.run_settings import FinetuneSettings
from gptsmith.train.search.plan import SEARCH, SEARCH_PLAN, SearchPlan, label_of
from gptsmith.train.search.prune import PrunedError, PruneTrial
from gptsmith.train.search.space import ranges_around
from gptsmith.train.search.study import Study, Trial
from gptsmith.train.search.trials import DIVERGED, PRUNED, EndedTrial, best_of, ended_trials, search_plan
from gptsmith.train.stability import TrainingDivergedError
from gptsmith.train.trainer import Trainer


def begin_search(folder: Path, table: dict[str, Any], job: FinetuningJob) -> Run:
    """A new run whose folder holds a search; the run of another process that has just begun the same search, if any.

    Args:
        table: the requested settings.
        job: the job that they make without a search.

    Raises:
        UserError: there is nothing to search, or the folder is in use.
    """
    request = {key: value for key, value in table["request"].items() if key != "trials"}
    plan = SearchPlan(
        table={**table, "request": request},
        ranges=ranges_around(job, table),
        num_trials=table["request"]["trials"],
        seed=job.settings.train.seed,
    )
    try:
        with published_folder(folder, private=True) as new:
            run = Run.create(new, job.settings, FinetuneSettings)
            job.write(run)
            (new / SEARCH).mkdir()
            write_json(new / SEARCH / SEARCH_PLAN, plan.plain())
    except PlaceTakenError:
        if search_plan(folder) != plan:
            require_free(folder)
    return Run.open(folder)


def search(run: Run, reward: Reward | None, started: float) -> dict[str, Any]:
    """Trains the trials that are left, with whatever other processes do so; who ends the last one makes the result.

    The result is the best trial itself, its weights, settings and figures, and not a training anew with its settings:
    that would give the same weights only on the same device with the same number of threads.

    Returns:
        what `finetune` returns, with trials (count, pruned, diverged), best_trial, best_settings and
        validation_loss_of_defaults. Where it was stopped, or where other processes are still at their trials
        (status `shared_search`), only run, objective, status and trials.

    Raises:
        UserError: the data has changed, a trial cannot be trained, or none could be trained to its end.
    """
    plan = search_plan(run.folder)
    assert plan is not None, "called only for a run that has a search"
    study = Study(run.folder / SEARCH, plan)
    tried = (f"{label_of(name)} {each.low:.3g} to {each.high:.3g}" for name, each in plan.ranges.items())
    note(styled("[bold]{}[/bold]: {} trials of {}", run.folder, plan.num_trials, ", ".join(tried)))
    with writing(run.folder), meter("trials", plan.num_trials) as bar:
        while True:
            with study.next_trial() as trial:
                if trial is None:
                    break
                figures = _train(run, plan, study, trial, bar, reward)
                if figures["status"] == "stopped":
                    note(
                        f"stopped in trial {trial.number}, which will start over. "
                        f"Continue with: {shell_command('finetune', '--resume', run.folder)}"
                    )
                    return {**_unfinished(run, plan), "status": "stopped", "signal": figures["signal"]}
                ended = ended_trials(run.folder, plan)
                _report_trial(trial, figures, ended, plan)
                _keep_only_the_best(ended)
                report(run.folder)
    if study.is_over() and (result := _result(run, plan, reward, started)) is not None:
        return result
    note("other processes run the last trials: the one that finishes last writes the result")
    return {**_unfinished(run, plan), "status": "shared_search"}


def _train(run: Run, plan: SearchPlan, study: Study, trial: Trial, bar: Meter, reward: Reward | None) -> dict[str, Any]:
    """Trains a trial until it ends, is pruned or is stopped; returns the content of its result.json.

    Raises:
        UserError: the data has changed, or it cannot be trained for a reason that its settings are not to blame for.
    """
    began = time.monotonic()
    with hushed():
        job = prepare_job(plan.table_of(trial.values), reward, final_evaluations=False, paths=run.paths)
        if not is_same_data(recorded := run.data(), job.data):
            raise UserError(
                f"the data of {run.folder} has changed since its search began{differences(recorded, job.data)}: bring "
                "the old data back, or start anew"
            )
        trained = Run(trial.folder)
        trained.write_settings(job.settings.plain())

        try:
            callbacks = default_callbacks(PruneTrial(study, trial, bar))
            figures = Trainer(trained, job.settings, job.dataset, model=job.model, callbacks=callbacks).fit(began)
        except (PrunedError, TrainingDivergedError) as error:
            figures = {"run": str(trial.folder), "status": DIVERGED}
            if isinstance(error, PrunedError):
                figures |= {"status": PRUNED, **error.figures}
            figures["seconds"] = time.monotonic() - began
            write_json(trial.folder / RESULT, figures)
            trained.log.append("end", **figures)
            report(trial.folder)
    if figures["status"] != "stopped":
        study.end(trial)
    return figures


def _report_trial(trial: Trial, figures: dict[str, Any], ended: list[EndedTrial], plan: SearchPlan) -> None:
    """`trial 3 of 20: validation loss 0.4321, best so far 0.4101 (trial 2); learning rate 0.0005, dropout 0.1`."""
    loss = f"validation loss {figures['validation_loss']:.4f}" if "validation_loss" in figures else ""
    if figures["status"] == PRUNED:
        loss = f"pruned at {figures['share']:.0%} with {loss}"
    elif figures["status"] == DIVERGED:
        loss = "diverged"
    best = best_of(ended)
    if best is not None and best.number == trial.number:
        loss += ", the best so far"
    elif best is not None:
        loss += f", best so far {best.loss:.4f} (trial {best.number})"
    tried = ", ".join(f"{label_of(name)} {value:.3g}" for name, value in trial.values.items())
    note(styled("[bold]trial {} of {}[/bold]: {}; [dim]{}[/dim]", trial.number, plan.num_trials, loss, tried))


def _keep_only_the_best(ended: list[EndedTrial]) -> None:
    """Deletes the checkpoints of the trials that can no longer become the result."""
    best = best_of(ended)
    for trial in ended:
        if trial is not best:
            shutil.rmtree(trial.folder / CHECKPOINTS, ignore_errors=True)


def _unfinished(run: Run, plan: SearchPlan) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "objective": run.settings()["train"]["objective"]["kind"],
        "trials": _counts(ended_trials(run.folder, plan)),
    }


def _counts(ended: list[EndedTrial]) -> dict[str, int]:
    statuses = [trial.figures["status"] for trial in ended]
    return {"count": len(ended), "pruned": statuses.count(PRUNED), "diverged": statuses.count(DIVERGED)}


def _result(run: Run, plan: SearchPlan, reward: Reward | None, started: float) -> dict[str, Any] | None:
    """Makes the best trial the run's result, once; None if another process is doing so."""
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(run.folder))
        except UserError:
            return None
        return run.result() or _result_of_the_best(run, plan, reward, started)


def _result_of_the_best(run: Run, plan: SearchPlan, reward: Reward | None, started: float) -> dict[str, Any]:
    """Moves the best trial's weights, settings and log into the run, and evaluates it on the test split.

    Raises:
        UserError: no trial was trained to its end.
    """
    ended = ended_trials(run.folder, plan)
    best = best_of(ended)
    if best is None:
        raise UserError(
            f"all {plan.num_trials} trials of {run.folder} diverged: set a lower train.optimizer.learning_rate, or "
            "look at the data"
        )
    job = prepare_job({**Run(best.folder).settings(), "request": run.settings()["request"]}, reward, paths=run.paths)
    if not run.checkpoints.exists():
        (best.folder / CHECKPOINTS).replace(run.checkpoints)
    run.write_settings(job.settings.plain())
    write_atomically(run.log.path, (best.folder / run.log.path.name).read_bytes())
    model = Trainer(run, job.settings, job.dataset, model=job.model).model
    load_weights(model, run.best(note))
    figures = {
        **best.figures,
        "run": str(run.folder),
        **job.dataset.final_figures(model.eval()),
        "trials": _counts(ended),
        "best_trial": best.number,
        "best_settings": best.values,
        "seconds": time.monotonic() - started,
    }
    defaults = next(trial for trial in ended if trial.number == 1)
    if defaults.is_whole:
        figures["validation_loss_of_defaults"] = defaults.loss
    write_json(run.folder / RESULT, figures)
    run.log.append("end", **figures)
    report(run.folder)
    return figures
