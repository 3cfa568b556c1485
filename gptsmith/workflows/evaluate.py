"""Evaluating a run: how well it predicts a text, and its scores in tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.settings import with_assignments
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.evaluate.bootstrap_units import UnitScores, score_units
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.evaluate.run_tasks import PreparedTask, prepare_task, run_task
from gptsmith.evaluate.tasks import KINDS, TaskResult
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.validation_text import validation_text


def evaluate(
    run: str | Path,
    texts: Sequence[str | Path] = (),
    *,
    task: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    against: str | Path | None = None,
    lm_eval: str | None = None,
    lm_eval_path: str | Path | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """The metrics of a run's best checkpoint: on texts, in a task, or in a task of lm-eval's.

    Texts are predicted in the dtype that the run was trained in, so that the metrics equal those of its end; tasks run
    in float32, so that no prediction depends on which others are in its batch.

    Args:
        texts: texts to predict, the run's own validation text if none are given; with `task`, files of examples.
        task: a kind of task, such as `multiple_choice`.
        shots: how many few-shot examples stand before each question.
        limit: the number of examples.
        against: another run, which does the same; a paired test says whether the two differ.
        lm_eval: a task of lm-eval's, which brings its own data.
        lm_eval_path: a folder with more tasks for lm-eval.
        settings: settings of the task, such as `scorer=number`.
        seed: which examples are drawn; intervals and tests draw by it too.

    Returns:
        run, step, seconds, and of texts validation_loss (nats per token), perplexity, bits_per_byte,
        bits_per_byte_low, bits_per_byte_high, interval_over, num_tokens, num_bytes, tokens_per_second; of a task: task,
        settings, num_shots, scores (of each: value, interval, baseline, num_examples), num_truncated; of lm-eval:
        lm_eval, lm_eval_version, results. With `against` also against (the other's figures) and comparison (of each
        score: value, against, difference, difference_interval, p_value).

    Raises:
        UserError: a run, a text or an example cannot be read, or the options exclude each other.
        MissingExtraError: lm-eval is not installed.
    """
    started = time.monotonic()
    if lm_eval is not None:
        _refuse("--lm-eval", {"a text": texts, "--task": task, "--against": against, "--set": settings})
    elif task is None:
        _refuse("a text, without --task,", {"--shots": shots, "--limit": limit, "--set": settings})
    for name, number, least in (("--shots", shots, 0), ("--limit", limit, 1)):
        if number is not None and number < least:
            raise UserError(f"{name} {number}: give {least} or more")
    if against is not None:
        open_model(against)
    if lm_eval is not None:
        figures = _in_lm_eval(run, lm_eval, lm_eval_path, shots, limit, seed, device)
    elif task is not None:
        table = {**with_assignments({}, settings), "kind": task}
        kind = KINDS.settings(task).parse(table, f"--task {task}")
        prepared = prepare_task(kind, texts, num_shots=shots or 0, limit=limit, seed=seed)
        figures = _in_task(prepared, shots or 0, run, against, seed, device)
    else:
        figures = _on_text(run, texts, against, seed, device)
    return {**figures, "seconds": time.monotonic() - started}


def _refuse(what: str, others: dict[str, Any]) -> None:
    """Refuse options that exclude each other.

    Raises:
        UserError: one of the others was given.
    """
    if given := [name for name, value in others.items() if value not in (None, (), [])]:
        raise UserError(f"{what} does not go together with {' and '.join(given)}: leave one of them out")


def _on_text(
    run: str | Path, texts: Sequence[str | Path], against: str | Path | None, seed: int, device: str
) -> dict[str, Any]:
    """How well a run, and another one, predict a text."""
    opened = open_model(run)
    units, figures = _predicted(run, opened, opened, texts, seed, device)
    if against is None:
        return figures
    other_units, others = _predicted(against, open_model(against), opened, texts, seed, device)
    comparison = units.metric.compare(other_units.metric, seed)
    return {**figures, "against": others, "comparison": {"bits_per_byte": comparison}}


def _predicted(
    run: str | Path, opened: OpenedModel, data_of: OpenedModel, texts: Sequence[str | Path], seed: int, device: str
) -> tuple[UnitScores, dict[str, Any]]:
    """A run's scores of the units of a text, or of the validation text of the run `data_of`."""
    loaded = load(opened, device=device, dtype=opened.dtype)
    stream = _stream(data_of, loaded.tokenizer, texts)
    started = time.monotonic()
    with meter("evaluating", len(stream)) as bar:
        units = score_units(loaded.model, stream, loaded.tokenizer.num_bytes_per_token, observe=bar.update)
    score, interval = units.whole, units.metric.interval(seed)
    return units, {
        **_who(run, loaded),
        "validation_loss": score.validation_loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "interval_over": "documents" if units.are_documents else "blocks",
        "num_tokens": score.num_tokens,
        "num_bytes": score.num_bytes,
        "tokens_per_second": score.num_tokens / (time.monotonic() - started),
    }


def _stream(run: OpenedModel, tokenizer: Tokenizer, texts: Sequence[str | Path]) -> TokenStream:
    """The tokens of texts, or of the validation text that a run's weights were first trained beside.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if texts:
        sources = [str(text) for text in texts]
        return prepare(sources, settings=DataSettings(validation_fraction=0.0), tokenizer=tokenizer, seed=0).train
    return validation_text(run, tokenizer)[0]


def _in_task(
    task: PreparedTask, num_shots: int, run: str | Path, against: str | Path | None, seed: int, device: str
) -> dict[str, Any]:
    """The scores of a run, and of another one, in a task."""
    result, figures = _task_result(task, run, seed, device)
    figures = {"task": task.settings.kind, "settings": task.settings.plain(), "num_shots": num_shots, **figures}
    if against is None:
        return figures
    other_result, others = _task_result(task, against, seed, device)
    pairs = zip(result.metrics, other_result.metrics, strict=True)
    comparison = {metric.name: metric.compare(other, seed) for metric, other in pairs}
    return {**figures, "against": others, "comparison": comparison}


def _task_result(task: PreparedTask, run: str | Path, seed: int, device: str) -> tuple[TaskResult, dict[str, Any]]:
    """A run's result in a task, and its scores as JSON values."""
    loaded = load(run, device=device)
    model = _language_model(loaded)
    with meter(task.settings.kind, task.num_predictions) as bar:
        result = run_task(task, model, bar.update)
    scores = {metric.name: metric.summary(seed) for metric in result.metrics}
    return result, {**_who(run, loaded), "scores": scores, **result.details, "num_truncated": model.num_truncated}


def _in_lm_eval(
    run: str | Path,
    lm_eval: str,
    lm_eval_path: str | Path | None,
    shots: int | None,
    limit: int | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """The results of a run in a task of lm-eval's."""
    try:
        from gptsmith.evaluate.lm_eval import run_lm_eval
    except ImportError:
        raise MissingExtraError("--lm-eval", "eval") from None
    loaded = load(run, device=device)
    found = run_lm_eval(_language_model(loaded), lm_eval, folder=lm_eval_path, num_shots=shots, limit=limit, seed=seed)
    return {**_who(run, loaded), **found}


def _language_model(loaded: Loaded) -> LanguageModel:
    return LanguageModel(loaded.model, loaded.tokenizer, loaded.template)


def _who(run: str | Path, loaded: Loaded) -> dict[str, Any]:
    return {"run": str(run), "step": loaded.run.step}
