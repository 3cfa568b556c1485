"""Tracing a text to what a run learnt from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter, note
from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.data.discover import discover
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from gptsmith.data.sources import MAX_PATH_CHARACTERS
from gptsmith.explain.influence.forgetting import Target, require_gradients
from gptsmith.explain.influence.influence import MAX_CANDIDATES, find_influences
from gptsmith.explain.testing import RANDOM_CHOICES
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.explain.trace.words import passage_in_words, trace_in_words
from gptsmith.workflows.requests import TraceRequest
from gptsmith.workflows.retraining import retrained


@verb(TraceRequest, "run", "text")
def trace(request: TraceRequest) -> dict[str, Any]:
    """Where a text stands in what a run, and the bases that it began with, learnt from. What they learnt from is
    indexed the first time, which takes about a second per million tokens, and kept in the cache.

    Returns:
        run, num_tokens, num_matched_tokens, min_tokens (the shortest match that is listed), learned (of each text that
        was learnt from: run, kind, num_tokens, num_documents), missing (why others are not here),
        says, seconds, and sources: of each passage text, text_start and text_stop (characters), num_tokens,
        num_copies, held_out_share (of the places of text that was never learnt from, those at which a match so long
        begins), file, where, sha256, state (unchanged, changed or missing), start and stop (bytes of the file), line,
        before, passage, after, document, place, and other_sources. With `forget` also influences: of each passage that
        shares rare words with the text its score, drop (by how many nats the text's log-probability falls after one
        step of forgetting it), test (beside steps on 20 other passages), verdict, says, and the keys of a source. With
        `retrain` also retrained: document, seeds, with and without (the text's log-probabilities in nats, by seed),
        difference (their mean), difference_interval (95 %), verdict, says.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: the run's text is not here, there is nothing to trace, or there is no room for the index.
    """
    started = time.monotonic()
    run = open_model(request.run, by_hash=False)
    text = _text(str(request.text))
    tracer = Tracer.of(run)
    num_tokens = len(tracer.tokenizer.encode(text))
    passages = tracer.trace(text, request.min_tokens)
    min_tokens = request.min_tokens or tracer.min_tokens
    tests: dict[str, Any] = {}
    if request.forget:
        tests["influences"] = _influences(request, tracer, run, text)
    if request.retrain is not None:
        tests["retrained"] = retrained(run, request, text)
    return {
        "run": str(request.run),
        "text": text,
        "num_tokens": num_tokens,
        "num_matched_tokens": sum(passage.num_tokens for passage in passages),
        "min_tokens": min_tokens,
        "learned": [learned.figures() for learned in tracer.learned.texts],
        "missing": tracer.learned.missing,
        "sources": [{**passage.plain(), "says": passage_in_words(passage)} for passage in passages],
        **tests,
        "says": trace_in_words(tracer, num_tokens, passages, min_tokens),
        "seconds": time.monotonic() - started,
    }


def _influences(request: TraceRequest, tracer: Tracer, run: OpenedModel, text: str) -> list[dict[str, Any]]:
    """The passages that share most with the text, each tested by one step of forgetting.

    Raises:
        UserError: the text does not fit into the context, or the weights take no gradient.
    """
    loaded = _with_gradients(run, request.device)
    loaded.require_words()
    target = Target.of(loaded.tokenizer, loaded.template, request.prompt, text)
    with meter("forgetting passages", RANDOM_CHOICES + MAX_CANDIDATES) as bar:
        found = find_influences(tracer, loaded.model, target, observe=bar.update)
    return [influence.plain() for influence in found]


def _with_gradients(run: OpenedModel, device: str) -> Loaded:
    """The model of a run; or of the run that it was made of, if its own weights take no gradient, which is said.

    Raises:
        UserError: neither does.
    """
    dense = "float32" if run.config.linear.is_storage else "auto"
    loaded = load(run, device=device, dtype=dense)
    source = (run.result() or {}).get("made_from")
    try:
        require_gradients(loaded.model)
    except UserError:
        if not source:
            raise
        loaded = load(run.paths.located(source), device=device)
        note(f"the weights of {run.folder} are integers, so that steps are taken on those of {loaded.run.folder}")
    return loaded


def _text(given: str) -> str:
    """The text itself, or that of the file that it names.

    Raises:
        UserError: the file cannot be read, or it holds no text.
    """
    path = Path(given).expanduser()
    if "\n" in given or len(given) > MAX_PATH_CHARACTERS or not _is_file(path):
        return given
    (candidate,) = discover([path]).candidates
    text = "".join(chunk.text for chunk in read_documents(candidate.reader, candidate.file, ReadSettings()))
    if not text.strip():
        raise UserError(f"{path} has no text to trace")
    return text


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no name of a file
        return False
