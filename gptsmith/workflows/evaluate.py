"""Evaluating a run: how well it predicts a text, and its scores in tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.assignments import with_assignments
from gptsmith.base.console import meter, note
from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load, require_words
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.readers import ReadSettings
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.evaluate.bootstrap_units import UnitScores, score_units, unit_texts
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.run_tasks import PreparedTask, prepare_task, run_task
from gptsmith.evaluate.tasks import KINDS, TaskResult
from gptsmith.model.device import choose_dtype
from gptsmith.provenance.contamination import Contamination, contamination
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.validation_text import validation_text
from gptsmith.workflows.requests import EvaluateRequest


@verb(EvaluateRequest, "run", "texts")
def evaluate(request: EvaluateRequest) -> dict[str, Any]:
    """The metrics of a run's best checkpoint: on texts, in a task, or in a task of lm-eval's.

    Texts are predicted in the dtype that the run was trained in, so that the metrics equal those of its end; tasks run
    in float32, so that no prediction depends on which others are in its batch.

    Returns:
        run, step, seconds, and of texts validation_loss (nats per token), perplexity, bits_per_byte,
        bits_per_byte_low, bits_per_byte_high, interval_over, num_tokens, num_bytes, tokens_per_second; of a task: task,
        settings, num_shots, scores (of each: value, interval, baseline, num_examples), num_truncated,
        skipped_examples (of each reason: count, places); of lm-eval: lm_eval, lm_eval_version, results. With `against`
        also against (the other's figures) and comparison (of each score: value, against, difference,
        difference_interval, p_value).

    Raises:
        UserError: a run, a text or an example cannot be read, a run writes no text, or the options exclude each other.
        MissingExtraError: lm-eval is not installed.
    """
    started = time.monotonic()
    for run in (request.run, request.against):
        if run is not None:
            opened = open_model(run)
            require_words(opened.config, opened.folder)
    if request.lm_eval is not None:
        figures = _in_lm_eval(request, request.lm_eval)
    elif request.task is not None:
        figures = _in_task(request, request.task)
    else:
        figures = _on_text(request)
    return {**figures, "seconds": time.monotonic() - started}


def _on_text(request: EvaluateRequest) -> dict[str, Any]:
    """How well a run, and another one, predict a text."""
    opened = open_model(request.run)
    units, figures = _predicted(request, request.run, opened, opened)
    if request.texts:
        unit = "document" if units.are_documents else "block"
        figures["contamination"] = _contamination(opened, unit, _unit_texts(opened, request), [units.metric])
    if request.against is None:
        return figures
    other_units, others = _predicted(request, request.against, open_model(request.against), opened)
    comparison = units.metric.compare(other_units.metric, request.seed)
    return {**figures, "against": others, "comparison": {"bits_per_byte": comparison}}


def _predicted(
    request: EvaluateRequest, run: str | Path, opened: OpenedModel, data_of: OpenedModel
) -> tuple[UnitScores, dict[str, Any]]:
    """A run's scores of the units of a text, or of the validation text of the run `data_of`."""
    loaded = _loaded(opened, request, opened.dtype)
    stream = _stream(data_of, loaded.tokenizer, request)
    started = time.monotonic()
    with meter("evaluating", len(stream)) as bar:
        units = score_units(loaded.model, stream, loaded.tokenizer.num_bytes_per_token, observe=bar.update)
    score, interval = units.whole, units.metric.interval(request.seed)
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


def _stream(run: OpenedModel, tokenizer: Tokenizer, request: EvaluateRequest) -> TokenStream:
    """The tokens of texts, or of the validation text that a run's weights were first trained beside.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if request.texts:
        return _named_text(request, tokenizer).train
    try:
        return validation_text(run, tokenizer)[0]
    except UserError as error:
        raise UserError(f"{error}: name a text") from None


def _named_text(request: EvaluateRequest, tokenizer: Tokenizer) -> PreparedData:
    """The texts that are named, as a whole."""
    given = {"validation_fraction": 0.0, "own_splits": False, **request.reading_settings()}
    settings = DataSettings.parse(given, "data")
    return prepare(map(str, request.texts), settings=settings, tokenizer=tokenizer, seed=0)


def _unit_texts(run: OpenedModel, request: EvaluateRequest) -> list[str]:
    """The text of each unit that bits per byte are measured over."""
    data = _named_text(request, run.tokenizer())
    return unit_texts(data.train, data.corpus)


def _contamination(run: OpenedModel, unit: str, texts: Sequence[str], metrics: Sequence[Metric]) -> dict[str, Any]:
    """Which of the units that a run is evaluated on stand in what it learnt from, and what its metrics are without
    these; it says so if that cannot be known."""
    try:
        found = contamination(run, texts)
    except (UserError, OSError) as error:
        found = Contamination(None, 0, [one_line(error)])
    about = {"unit": unit, "num_units": len(texts), "num_words": found.num_words, "missing": found.missing}
    if found.is_contaminated is None:
        return {**about, "num_contaminated": None, "without_them": {}}
    others = [part for metric in metrics if (part := metric.of(~found.is_contaminated)) is not None]
    return {
        **about,
        "num_contaminated": int(found.is_contaminated.sum()),
        "without_them": {metric.name: metric.statistic(metric.outcomes) for metric in others},
    }


def _in_task(request: EvaluateRequest, kind: str) -> dict[str, Any]:
    """The scores of a run, and of another one, in a task."""
    table = {**with_assignments({}, request.settings), "kind": kind}
    settings, num_shots = KINDS.settings(kind).parse(table, f"--task {kind}"), request.shots or 0
    reading = ReadSettings.parse(request.reading_settings(), "data")
    task = prepare_task(
        settings, request.texts,
        num_shots=num_shots, limit=request.limit, seed=request.seed, reading=reading, skip_bad=request.skip_bad,
    )  # fmt: skip
    for line in task.skipped.lines():
        note(line)
    result, figures = _task_result(task, request, request.run)
    about = {"task": kind, "settings": settings.plain(), "num_shots": num_shots}
    figures = {**about, **figures, "skipped_examples": task.skipped.plain()}
    questions = [example.prompt.question for example in task.examples]
    figures["contamination"] = _contamination(open_model(request.run), "example", questions, result.metrics)
    if request.against is None:
        return figures
    other_result, others = _task_result(task, request, request.against)
    pairs = zip(result.metrics, other_result.metrics, strict=True)
    comparison = {metric.name: metric.compare(other, request.seed) for metric, other in pairs}
    return {**figures, "against": others, "comparison": comparison}


def _task_result(task: PreparedTask, request: EvaluateRequest, run: str | Path) -> tuple[TaskResult, dict[str, Any]]:
    """A run's result in a task, and its scores as JSON values."""
    loaded = _loaded(run, request)
    model = _language_model(loaded)
    with meter(task.settings.kind, task.num_predictions) as bar:
        result = run_task(task, model, bar.update)
    scores = {metric.name: metric.summary(request.seed) for metric in result.metrics}
    return result, {**_who(run, loaded), "scores": scores, **result.details, "num_truncated": model.num_truncated}


def _in_lm_eval(request: EvaluateRequest, lm_eval: str) -> dict[str, Any]:
    """The results of a run in a task of lm-eval's."""
    try:
        from gptsmith.evaluate.lm_eval import run_lm_eval
    except ImportError:
        raise MissingExtraError("--lm-eval", "gptsmith[eval]") from None
    loaded = _loaded(request.run, request)
    found, tasks = run_lm_eval(
        _language_model(loaded), lm_eval,
        folder=request.lm_eval_path, num_shots=request.shots, limit=request.limit, seed=request.seed,
    )  # fmt: skip
    texts = [text for task in tasks.values() for text in task.texts]
    metrics = next(iter(tasks.values())).metrics if len(tasks) == 1 else []  # those of several are not of all examples
    found["contamination"] = _contamination(open_model(request.run), "example", texts, metrics)
    return {**_who(request.run, loaded), **found}


def _loaded(run: str | Path | OpenedModel, request: EvaluateRequest, usual_dtype: str = "float32") -> Loaded:
    """A model that computes in the dtype that is requested, or else in the usual one, with its weights as they came."""
    loaded = load(run, device=request.device, dtype=request.dtype)
    if request.dtype == "auto":
        loaded.model.compute_dtype = choose_dtype(usual_dtype, loaded.model.device)
    return loaded


def _language_model(loaded: Loaded) -> LanguageModel:
    return LanguageModel(loaded.model, loaded.tokenizer, loaded.template)


def _who(run: str | Path, loaded: Loaded) -> dict[str, Any]:
    return {"run": str(run), "step": loaded.run.step}
