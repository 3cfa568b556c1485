"""How good a run is: how well it predicts a text, and how it does in tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.settings import with_assignments
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


def evaluate(
    run: str | Path,
    texts: Sequence[str | Path] = (),
    *,
    task: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    against: str | Path | None = None,
    harness: str | None = None,
    harness_path: str | Path | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """The figures of a run's best checkpoint: on texts, in a task, or in a task of lm-eval's.

    Texts are predicted in the numbers that the run was trained in, so that the figures are those of its end; tasks are
    answered in float32, so that no answer depends on which others are computed beside it.

    Args:
        texts: what is predicted, the run's own validation text where none are given; with `task`, files of examples.
        task: a kind of task, such as `multiple_choice`.
        shots: how many examples with their answers stand before each question.
        limit: how many examples are asked.
        against: another run, which does the same; a paired test says whether the two differ.
        harness: a task of lm-eval's, which brings its own data.
        harness_path: a folder with more tasks for lm-eval.
        settings: settings of the task, such as `check=number`.
        seed: which examples are drawn; intervals and tests draw by it too.

    Returns:
        run, step, seconds, and of texts validation_loss (nats a token), perplexity, bits_per_byte,
        bits_per_byte_low, bits_per_byte_high, interval_over, num_tokens, num_bytes, tokens_per_second; of a task: task,
        settings, num_shots, scores (of each: value, interval, baseline, num_examples), num_cut; of lm-eval: harness,
        harness_version, results. With `against` also against (the other's figures) and comparison (of each score:
        value, against, difference, difference_interval, p_value).

    Raises:
        UserError: a run, a text or an example cannot be read, or what was asked for does not go together.
        MissingExtraError: lm-eval is not installed.
    """
    started = time.monotonic()
    if harness is not None:
        _refuse("--harness", {"a text": texts, "--task": task, "--against": against, "--set": settings})
    elif task is None:
        _refuse("a text, without --task,", {"--shots": shots, "--limit": limit, "--set": settings})
    for name, number, least in (("--shots", shots, 0), ("--limit", limit, 1)):
        if number is not None and number < least:
            raise UserError(f"{name} {number}: give {least} or more")
    if against is not None:
        open_run(against)
    if harness is not None:
        figures = _in_harness(run, harness, harness_path, shots, limit, seed, device)
    elif task is not None:
        table = {**with_assignments({}, settings), "kind": task}
        exam = Exam(
            KINDS.settings(task).parse(table, f"--task {task}"), texts, num_shots=shots or 0, limit=limit, seed=seed
        )
        figures = _in_exam(exam, shots or 0, run, against, seed, device)
    else:
        figures = _on_text(run, texts, against, seed, device)
    return {**figures, "seconds": time.monotonic() - started}


def _refuse(what: str, others: dict[str, Any]) -> None:
    """Accepts that nothing else was given.

    Raises:
        UserError: something was.
    """
    if given := [name for name, value in others.items() if value not in (None, (), [])]:
        raise UserError(f"{what} does not go together with {' and '.join(given)}: leave one of them out")


def _on_text(
    run: str | Path, texts: Sequence[str | Path], against: str | Path | None, seed: int, device: str
) -> dict[str, Any]:
    """How well a run, and another one, predict a text."""
    pieces, figures = _predicted(run, open_run(run), texts, seed, device)
    if against is None:
        return figures
    other_pieces, others = _predicted(against, open_run(run), texts, seed, device)
    comparison = pieces.measure.against(other_pieces.measure, seed)
    return {**figures, "against": others, "comparison": {"bits_per_byte": comparison}}


def _predicted(
    run: str | Path, data_of: Run, texts: Sequence[str | Path], seed: int, device: str
) -> tuple[Pieces, dict[str, Any]]:
    """A run's scores of the pieces of a text, or of the validation text of the run `data_of`."""
    loaded = load(run, device=device, dtype=open_run(run).dtype)
    stream = _stream(data_of, loaded.tokenizer, texts)
    started = time.monotonic()
    with meter("evaluating", len(stream)) as bar:
        pieces = score_pieces(loaded.model, stream, loaded.tokenizer.num_bytes_per_token, observe=bar.update)
    score, interval = pieces.whole, pieces.measure.interval(seed)
    return pieces, {
        **_who(run, loaded),
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


def _in_exam(
    exam: Exam, num_shots: int, run: str | Path, against: str | Path | None, seed: int, device: str
) -> dict[str, Any]:
    """How a run, and another one, do in a task."""
    marks, figures = _examined(exam, run, seed, device)
    figures = {"task": exam.task.kind, "settings": exam.task.plain(), "num_shots": num_shots, **figures}
    if against is None:
        return figures
    other_marks, others = _examined(exam, against, seed, device)
    pairs = zip(marks.measures, other_marks.measures, strict=True)
    comparison = {measure.name: measure.against(other, seed) for measure, other in pairs}
    return {**figures, "against": others, "comparison": comparison}


def _examined(exam: Exam, run: str | Path, seed: int, device: str) -> tuple[Marks, dict[str, Any]]:
    """A run's marks in a task, and their figures."""
    loaded = load(run, device=device)
    candidate = _candidate(loaded)
    with meter(exam.task.kind, exam.num_answers) as bar:
        marks = exam.take(candidate, bar.update)
    scores = {measure.name: measure.figures(seed) for measure in marks.measures}
    return marks, {**_who(run, loaded), "scores": scores, **marks.details, "num_cut": candidate.num_cut}


def _in_harness(
    run: str | Path,
    harness: str,
    harness_path: str | Path | None,
    shots: int | None,
    limit: int | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """How a run does in a task of lm-eval's."""
    try:
        from gptsmith.evaluate.lm_eval import run_harness
    except ImportError:
        raise MissingExtraError("--harness", "eval") from None
    loaded = load(run, device=device)
    found = run_harness(_candidate(loaded), harness, folder=harness_path, num_shots=shots, limit=limit, seed=seed)
    return {**_who(run, loaded), **found}


def _candidate(loaded: Loaded) -> Candidate:
    return Candidate(loaded.model, loaded.tokenizer, loaded.template)


def _who(run: str | Path, loaded: Loaded) -> dict[str, Any]:
    return {"run": str(run), "step": loaded.checkpoint.step}
