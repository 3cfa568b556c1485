"""How good a run is: how well it predicts a text, and how it does in tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter
from gptsmith.base.errors import MissingExtraError
from gptsmith.base.settings import with_assignments
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import open_run
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.evaluate.language_model import Candidate
from gptsmith.evaluate.pieces import Pieces, score_pieces
from gptsmith.evaluate.run_tasks import Exam
from gptsmith.evaluate.tasks import KINDS, Marks
from gptsmith.run.folder import Run
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.validation_text import validation_text
from gptsmith.workflows.requests import EvaluateRequest


@verb(EvaluateRequest, "run", "texts")
def evaluate(request: EvaluateRequest) -> dict[str, Any]:
    """The figures of a run's best checkpoint: on texts, in a task, or in a task of lm-eval's.

    Texts are scored in the dtype that the run was trained in, so that the figures are those of its end; tasks are
    answered in float32, so that no answer depends on which others are computed beside it.

    Returns:
        run, step, seconds, and of texts validation_loss (nats per token), perplexity, bits_per_byte,
        bits_per_byte_low, bits_per_byte_high, interval_over, num_tokens, num_bytes, tokens_per_second; of a task: task,
        settings, num_shots, scores (of each: value, interval, baseline, num_examples), num_cut; of lm-eval: harness,
        harness_version, results. With `against` also against (the other's figures) and comparison (of each score:
        value, against, difference, difference_interval, p_value).

    Raises:
        UserError: a run, a text or an example cannot be read, or what was given does not go together.
        MissingExtraError: lm-eval is not installed.
    """
    started = time.monotonic()
    if request.against is not None:
        open_run(request.against)
    if request.harness is not None:
        figures = _in_harness(request, request.harness)
    elif request.task is not None:
        figures = _in_task(request, request.task)
    else:
        figures = _on_text(request)
    return {**figures, "seconds": time.monotonic() - started}


def _on_text(request: EvaluateRequest) -> dict[str, Any]:
    """How well a run, and another one, predict a text."""
    pieces, figures = _predicted(request, request.run)
    if request.against is None:
        return figures
    other_pieces, others = _predicted(request, request.against)
    comparison = pieces.measure.against(other_pieces.measure, request.seed)
    return {**figures, "against": others, "comparison": {"bits_per_byte": comparison}}


def _predicted(request: EvaluateRequest, run: str | Path) -> tuple[Pieces, dict[str, Any]]:
    """A run's scores of the pieces of a text, or of the validation text of the run that is evaluated."""
    loaded = load(run, device=request.device, dtype=open_run(run).dtype)
    stream = _stream(open_run(request.run), loaded.tokenizer, request.texts)
    started = time.monotonic()
    with meter("evaluating", len(stream)) as bar:
        pieces = score_pieces(loaded.model, stream, loaded.tokenizer.num_bytes_per_token, observe=bar.update)
    score, interval = pieces.whole, pieces.measure.interval(request.seed)
    return pieces, {
        **_identity(run, loaded),
        "validation_loss": score.validation_loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "bits_per_byte_low": interval.low,
        "bits_per_byte_high": interval.high,
        "interval_over": "documents" if pieces.are_documents else "stretches",
        "num_tokens": score.num_tokens,
        "num_bytes": score.num_bytes,
        "tokens_per_second": score.num_tokens / (time.monotonic() - started),
    }


def _stream(run: Run, tokenizer: Tokenizer, texts: Sequence[str | Path]) -> TokenStream:
    """The tokens of texts, or of the validation text that a run's weights were first trained beside.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if texts:
        sources = [str(text) for text in texts]
        return prepare(sources, settings=DataSettings(validation_fraction=0.0), tokenizer=tokenizer, seed=0).train
    return validation_text(run, tokenizer)[0]


def _in_task(request: EvaluateRequest, kind: str) -> dict[str, Any]:
    """The scores of a run, and of another one, in a task."""
    task = KINDS.settings(kind).parse({**with_assignments({}, request.settings), "kind": kind}, f"--task {kind}")
    num_shots = request.shots or 0
    exam = Exam(task, request.texts, num_shots=num_shots, limit=request.limit, seed=request.seed)
    marks, figures = _examined(exam, request, request.run)
    figures = {"task": kind, "settings": task.plain(), "num_shots": num_shots, **figures}
    if request.against is None:
        return figures
    other_marks, others = _examined(exam, request, request.against)
    pairs = zip(marks.measures, other_marks.measures, strict=True)
    comparison = {measure.name: measure.against(other, request.seed) for measure, other in pairs}
    return {**figures, "against": others, "comparison": comparison}


def _examined(exam: Exam, request: EvaluateRequest, run: str | Path) -> tuple[Marks, dict[str, Any]]:
    """A run's marks in a task, and their figures."""
    loaded = load(run, device=request.device)
    candidate = _candidate(loaded)
    with meter(exam.task.kind, exam.num_answers) as bar:
        marks = exam.take(candidate, bar.update)
    scores = {measure.name: measure.figures(request.seed) for measure in marks.measures}
    return marks, {**_identity(run, loaded), "scores": scores, **marks.details, "num_cut": candidate.num_cut}


def _in_harness(request: EvaluateRequest, harness: str) -> dict[str, Any]:
    """The scores of a run in a task of lm-eval's."""
    try:
        from gptsmith.evaluate.lm_eval import run_harness
    except ImportError:
        raise MissingExtraError("--harness", "eval") from None
    loaded = load(request.run, device=request.device)
    found = run_harness(
        _candidate(loaded), harness,
        folder=request.harness_path, num_shots=request.shots, limit=request.limit, seed=request.seed,
    )  # fmt: skip
    return {**_identity(request.run, loaded), **found}


def _candidate(loaded: Loaded) -> Candidate:
    return Candidate(loaded.model, loaded.tokenizer, loaded.template)


def _identity(run: str | Path, loaded: Loaded) -> dict[str, Any]:
    return {"run": str(run), "step": loaded.checkpoint.step}
