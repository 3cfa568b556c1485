"""From a trained model and examples of a task to a model of that task."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.base.settings import changed_keys, merged, with_assignments
from gptsmith.run.folder import DATA, RESULT, SETTINGS, Run, read_settings, require_free
from gptsmith.run.writer import only_writer
from gptsmith.train.datasets.base import Reward
from gptsmith.train.finetuning import FinetuningJob, prepare_job
from gptsmith.train.run_settings import FinetuneRequest, FinetuneSettings, settings_of
from gptsmith.train.search.trials import search_plan
from gptsmith.train.trainer import Session


def finetune(
    base: str | Path | None = None,
    sources: Sequence[str | Path] = (),
    *,
    out: str | Path | None = None,
    objective: str | None = None,
    epochs: float | None = None,
    lora: int | None = None,
    trials: int | None = None,
    validation: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    skip_bad: bool = False,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    reward: Reward | None = None,
    resume: str | Path | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Tunes a trained model on examples of a task, into a run folder of its own. The same call given again goes on.

    Args:
        base: the run to start from.
        sources: files of conversations, labelled texts or preferences (see `gptsmith.data.examples`), or of plain text.
        out: the run folder; the base's, with the objective's name after it, where it is not given.
        objective: the name of an objective (see `gptsmith.train.objectives`); if not given, the default for such data.
        epochs: how often every example is read.
        lora: the rank of adapters that are trained instead of all weights.
        trials: how many trials search for better settings than the usual ones (see `gptsmith.train.search.search`).
        validation: examples to choose the best weights by, instead of a share of the sources.
        test: examples to judge by at the end, instead of a share of the sources.
        skip_bad: leave out examples that cannot be learnt from, instead of stopping at the first.
        config: a run.toml to take settings from.
        settings: changes such as `train.batch_size=8`, on top of everything.
        reward: for the objective `grpo`, a function of the messages, the completion and the reference answer, instead
            of one that `train.objective.reward` names.
        resume: a run to go on with, instead of a base and sources.
        started: the `time.monotonic()` from which `seconds` count; now where it is not given.

    Returns:
        what `pretrain` returns of a run, as far as it is known here: validation_loss is the objective's; with test_loss
        and what else the objective measures (test_accuracy, test_reward), and bits per byte of the base's own
        validation text before and after (general_bits_per_byte_before, general_bits_per_byte).

    Raises:
        UserError: a run, an example or a setting cannot be used; nothing is left half-written.
    """
    started = time.monotonic() if started is None else started
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("finetune trains in one process: leave torchrun out")
    with ExitStack() as held:
        if resume is not None:
            if base is not None or sources or trials is not None:
                raise UserError("--resume takes the run's own base, data and trials: with it, give only --set")
            return _go_on(Run.open(resume), held, settings, reward, started)
        table = request_table(
            base, sources, objective=objective, epochs=epochs, lora=lora, trials=trials, validation=validation,
            test=test, skip_bad=skip_bad, config=config, settings=settings,
        )  # fmt: skip
        folder = _folder(out, table["request"])
        if folder is not None and (folder / SETTINGS).exists():
            return _go_on(Run.open(folder), held, (), reward, started)
        if trials is not None:
            return _searched(table, folder, reward, started)
        job = prepare_job(table, reward)
        folder = folder or _free_folder(Path(str(base)), job.settings.train.objective.kind)
        run = Run.create(folder, job.settings, FinetuneSettings)
        held.enter_context(only_writer(folder))
        job.write(run)
        return _session(run, job).run_to_end(started)


def request_table(
    base: str | Path | None,
    sources: Sequence[str | Path],
    *,
    validation: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    skip_bad: bool = False,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    **choices: Any,
) -> dict[str, Any]:
    """The settings that a command spells out, with what was asked for as its `request` table.

    Raises:
        UserError: there is no base, or no data.
    """
    if base is None or not sources:
        raise UserError("name a trained run and the data of the task: gptsmith finetune runs/mine answers.jsonl")
    given = {
        **choices,
        "base": str(base),
        "sources": [str(source) for source in sources],
        "validation": [str(file) for file in validation],
        "test": [str(file) for file in test],
        "config": None if config is None else str(config),
        "settings": list(settings),
    }
    table: dict[str, Any] = {
        "request": {key: value for key, value in given.items() if value is not None and value != []}
    }
    if skip_bad:
        table["examples"] = {"skip_bad": True}
    below = read_settings(Path(config)) if config is not None else {}
    below.pop("made_by", None)
    below.pop("request", None)
    return with_assignments(merged(below, table), settings)


def _folder(out: str | Path | None, request: dict[str, Any]) -> Path | None:
    """The folder that was asked for; else one beside the base in which the same was asked for and that has not ended;
    nothing where a new one is to be chosen.

    Raises:
        UserError: the folder that was asked for is in use.
    """
    if out is not None:
        folder = Path(out)
        if not _goes_on(folder, request):
            require_free(folder)
        return folder
    base = Path(request["base"])
    return next((path for path in sorted(base.parent.glob(f"{base.name}-*")) if _goes_on(path, request)), None)


def _goes_on(folder: Path, request: dict[str, Any]) -> bool:
    """Whether the folder is a run of the same command that has not ended."""
    if not (folder / SETTINGS).is_file() or (folder / RESULT).exists():
        return False
    known = Run.open(folder).settings().get("request", {})
    return "base" in known and FinetuneRequest.parse(request) == FinetuneRequest.parse(known)


def _free_folder(base: Path, kind: str) -> Path:
    name = f"{base.resolve().name}-{kind}"
    candidates = (base.resolve().parent / (name if n == 1 else f"{name}-{n}") for n in range(1, 10**6))
    free = next(folder for folder in candidates if not folder.exists())
    return base.parent / free.name


def _session(run: Run, job: FinetuningJob) -> Session:
    return Session(run, job.settings, job.dataset, model=job.model)


def _searched(table: dict[str, Any], folder: Path | None, reward: Reward | None, started: float) -> dict[str, Any]:
    """The figures of a new run whose settings are searched."""
    from gptsmith.train.search.search import begin_search, search

    job = prepare_job(table, reward, final_evaluations=False)
    folder = folder or _free_folder(Path(table["request"]["base"]), job.settings.train.objective.kind)
    return search(begin_search(folder, table, job), reward, started)


FREE = (
    "request", "checkpoint", "track", "train.device", "train.stability", "train.micro_batch_size", "train.num_steps",
    "train.optimizer.learning_rate", "train.target_loss", "train.patience_evaluations", "train.evaluate_every_steps",
    "train.evaluation_tokens", "train.sample_every_steps",
)  # fmt: skip
"""Settings that may change when a run goes on; all others are those that it began with."""


def _go_on(run: Run, held: ExitStack, changes: Sequence[str], reward: Reward | None, started: float) -> dict[str, Any]:
    """The figures of a run that goes on where it stopped.

    Raises:
        UserError: it cannot go on, or not with these changes.
    """
    if search_plan(run.folder) is None or run.result() is not None:
        return _going_on(run, held, changes, reward).run_to_end(started)
    if changes:
        raise UserError(f"the search of {run.folder} goes on with the settings that it began with: leave out --set")
    from gptsmith.train.search.search import search

    return search(run, reward, started)


def _going_on(run: Run, held: ExitStack, changes: Sequence[str], reward: Reward | None) -> Session:
    """A session that goes on where a run stopped.

    Raises:
        UserError: the run has ended, its examples or a fixed setting have changed, or no checkpoint is whole.
    """
    held.enter_context(only_writer(run.folder))
    if not isinstance(before := settings_of(run), FinetuneSettings):
        raise UserError(f"{run.folder} was not fine-tuned: go on with gptsmith pretrain --resume {run.folder}")
    if run.result() is not None:
        raise UserError(f"{run.folder} has ended: tune it further with gptsmith finetune {run.folder} DATA")
    table = with_assignments(before.plain(), changes)
    changed = changed_keys(before.plain(), table)
    if odd := [key for key in changed if not any(f"{key}.".startswith(f"{free}.") for free in FREE)]:
        raise UserError(f"{run.folder} goes on with the settings that it began with: leave out {', '.join(odd)}")
    checkpoint = run.newest(note)
    job = prepare_job(table, reward)
    if job.data["fingerprint"] != read_json(run.folder / DATA)["fingerprint"]:
        raise UserError(
            f"the data of {run.folder} has changed since it was trained on: bring the old data back, or start a new run"
        )
    run.write_settings(job.settings.plain())
    session = _session(run, job)
    if checkpoint is not None:
        session.go_on(checkpoint)
    return session
