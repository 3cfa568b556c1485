"""Tracing a text to what a run learnt from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.convert.open import open_model
from gptsmith.data.discover import discover
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.explain.trace.words import passage_in_words, trace_in_words
from gptsmith.workflows.requests import TraceRequest

MAX_PATH_CHARACTERS = 4096


@verb(TraceRequest, "run", "text")
def trace(request: TraceRequest) -> dict[str, Any]:
    """Where a text stands in what a run, and the bases that it began with, learnt from. What they learnt from is
    indexed the first time, which takes about a second per million tokens, and kept in the cache.

    Returns:
        run, num_tokens, num_matched_tokens, min_tokens (the shortest match that is listed), learned (of each text that
        was learnt from: run, kind, num_tokens, num_documents, num_held_out_places), missing (why others are not here),
        says, seconds, and sources: of each passage text, text_start and text_stop (characters), num_tokens,
        num_copies, held_out_share (of the places of text that was never learnt from, those at which a match so long
        begins), file, where, sha256, state (unchanged, changed or missing), start and stop (bytes of the file), line,
        before, passage, after, document, and other_sources.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: the run's text is not here, there is nothing to trace, or there is no room for the index.
    """
    started = time.monotonic()
    run = open_model(request.run, by_hash=False)
    text = _text(str(request.text))
    tracer = Tracer.of(run)
    num_tokens = len(run.tokenizer().encode(text))
    passages = tracer.trace(text, request.min_tokens)
    min_tokens = request.min_tokens or tracer.min_tokens
    return {
        "run": str(request.run),
        "text": text,
        "num_tokens": num_tokens,
        "num_matched_tokens": sum(passage.num_tokens for passage in passages),
        "min_tokens": min_tokens,
        "learned": [learned.figures() for learned in tracer.learned.texts],
        "missing": tracer.learned.missing,
        "sources": [{**passage.plain(), "says": passage_in_words(passage)} for passage in passages],
        "says": trace_in_words(tracer, num_tokens, passages, min_tokens),
        "seconds": time.monotonic() - started,
    }


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
